"""A transparent tile to draw one object on: the canvas of generated images."""

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

Colour = tuple[int, ...]
"""Red, green, blue and, where it is given, alpha, 0 to 255."""
Point = tuple[float, float]
"""x and y, -1 to 1."""
SIDE = 80
"""Pixels of a tile's side. A tile is larger than what is pasted from it, so that shrinking smooths the edges."""
WHITE, CREAM, YELLOW, GOLD, ORANGE = (240, 238, 230), (238, 218, 170), (242, 206, 70), (214, 150, 52), (232, 124, 44)
CRUST, BROWN, DARK, RED, PINK = (176, 112, 56), (124, 74, 42), (60, 38, 28), (190, 44, 38), (234, 150, 160)
GREEN, LEAF, BLUE, CLEAR = (110, 160, 60), (50, 110, 44), (170, 190, 205), (0, 0, 0, 0)


class Tile:
    """A transparent square to draw one object on.

    Coordinates run from -1 to 1, x to the right and y down; lengths have the same unit.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.image = Image.new("RGBA", (SIDE, SIDE))
        self.pen = ImageDraw.Draw(self.image)

    def tint(self, *colours: Colour) -> Colour:
        """One of the colours at random, with its brightness and each channel varied."""
        light = self.rng.uniform(0.8, 1.15)
        return tuple(min(255, max(0, round(c * light + self.rng.uniform(-16, 16)))) for c in self.rng.choice(colours))

    def near(self, spread: float = 0.6) -> Point:
        """A random point, uniform over the disc of radius `spread`."""
        angle, radius = self.rng.uniform(0, math.tau), spread * math.sqrt(self.rng.random())
        return radius * math.cos(angle), radius * math.sin(angle)

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self.pen.polygon([_pixels(p) for p in points], fill=fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.pen.ellipse((*_pixels((x - rx, y - ry)), *_pixels((x + rx, y + ry))), fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0.0) -> None:
        self.pen.rounded_rectangle((*_pixels((x0, y0)), *_pixels((x1, y1))), radius * SIDE / 2, fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float = 0.05) -> None:
        self.pen.line([_pixels(p) for p in points], fill=fill, width=max(1, round(width * SIDE / 2)), joint="curve")

    def blob(self, x: float, y: float, rx: float, ry: float, fill: Colour, rough: float = 0.12) -> None:
        """An ellipse with an uneven edge: the radius varies by the fraction `rough`."""
        corners = []
        for step in range(18):
            angle, reach = step * math.tau / 18, 1 + self.rng.uniform(-rough, rough)
            corners.append((x + rx * reach * math.cos(angle), y + ry * reach * math.sin(angle)))
        self.polygon(corners, fill)

    def arc(self, x: float, y: float, r: float, start: float, sweep: float, fill: Colour, width: float) -> None:
        """An arc of a circle from the angle `start` over the angle `sweep`, both in radians."""
        steps = [start + sweep * i / 8 for i in range(9)]
        self.line([(x + r * math.cos(a), y + r * math.sin(a)) for a in steps], fill, width)

    def dots(self, count: int, size: float, *colours: Colour, spread: float = 0.6) -> None:
        """Small ellipses at random points."""
        for _ in range(count):
            self.oval(*self.near(spread), size, size * self.rng.uniform(0.6, 1.2), self.tint(*colours))

    def strokes(self, count: int, length: float, width: float, *colours: Colour, spread: float = 0.65) -> None:
        """Short straight lines at random points in random directions."""
        for _ in range(count):
            (x, y), angle = self.near(spread), self.rng.uniform(0, math.pi)
            dx, dy = length * math.cos(angle), length * math.sin(angle)
            self.line([(x - dx, y - dy), (x + dx, y + dy)], self.tint(*colours), width)


def _pixels(point: Point) -> Point:
    """Coordinates from -1 to 1 as pixels of the tile."""
    return (point[0] + 1) * SIDE / 2, (point[1] + 1) * SIDE / 2
