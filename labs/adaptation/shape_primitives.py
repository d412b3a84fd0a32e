"""Filled areas and lines, the parts of an object's outline.

Coordinates are in halves of the image's side around its centre, x to the right and y down.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Point = tuple[float, float]


class Part(NamedTuple):
    """A line, or a filled area."""

    points: np.ndarray
    """(n, 2) coordinates of its corners."""
    closed: bool
    """Whether it is an area."""
    role: int
    """Parts of one role have one colour in a photograph; 0 is the object's main colour, 3 is dark."""


class Outline:
    """Collects the parts of one object, from back to front, and adds noise to all coordinates and radii."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.parts: list[Part] = []

    def area(self, points: Sequence[Point], role: int = 0, smooth: bool = False) -> None:
        corners = self._vary(points)
        self.parts.append(Part(_rounded(corners, True) if smooth else corners, True, role))

    def line(self, points: Sequence[Point], role: int = 3, smooth: bool = False) -> None:
        corners = self._vary(points)
        self.parts.append(Part(_rounded(corners, False) if smooth else corners, False, role))

    def oval(self, x: float, y: float, rx: float, ry: float, role: int = 0, rotation: float = 0.0) -> None:
        """An ellipse around (x, y), rotated clockwise by `rotation` degrees."""
        angle = np.linspace(0, math.tau, 20, endpoint=False)
        rx, ry = (r * self.rng.uniform(0.85, 1.18) for r in (rx, ry))
        c, s = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        u, v = rx * np.cos(angle), ry * np.sin(angle)
        (centre,) = self._vary([(x, y)])
        self.parts.append(Part(np.stack([centre[0] + c * u - s * v, centre[1] + s * u + c * v], 1), True, role))

    def box(self, left: float, top: float, right: float, bottom: float, role: int = 0) -> None:
        left, top, right, bottom = (edge + self.rng.gauss(0, 0.04) for edge in (left, top, right, bottom))
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        self.parts.append(Part(corners, True, role))

    def limb(self, x: float, y: float, x2: float, y2: float, width: float, role: int = 0) -> None:
        """A bar of this width from (x, y) to (x2, y2), such as a leg."""
        dx, dy = (x2 - x) / math.hypot(x2 - x, y2 - y) * width / 2, (y2 - y) / math.hypot(x2 - x, y2 - y) * width / 2
        self.area([(x - dy, y + dx), (x2 - dy, y2 + dx), (x2 + dy, y2 - dx), (x + dy, y - dx)], role)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _vary(self, points: Sequence[Point]) -> np.ndarray:
        return np.array([(x + self.rng.gauss(0, 0.03), y + self.rng.gauss(0, 0.03)) for x, y in points])


def _rounded(corners: np.ndarray, closed: bool) -> np.ndarray:
    """A Catmull-Rom spline through the corners, four points a segment."""
    around = np.concatenate([corners[-1:], corners, corners[:2]]) if closed else corners[[0, *range(len(corners)), -1]]
    t = np.arange(4)[:, None] / 4
    segments = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False)
    ]
    return np.concatenate(segments if closed else [*segments, corners[-1:]])
