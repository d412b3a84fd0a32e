"""Characters of made-up alphabets: an alphabet has strokes of its own, a character is a short program of them, and each
drawer writes it in a hand of their own.

Points are in units of half the picture's side, x to the right and y down.
"""

import math
import random

import numpy as np
from PIL import Image, ImageDraw

SIDE, ZOOM = 28, 3
"""Pixels of a picture's side; pictures are drawn three times as large, then shrunk, so that lines come out smooth."""
PIECES = 8
"""Points of a stroke, less one."""
Character = list[np.ndarray]
"""Strokes (PIECES + 1, 2) where they belong."""


def alphabet(rng: random.Random, count: int) -> list[Character]:
    """So many characters of one alphabet: programs of one to four strokes, written with its few strokes."""
    strokes = [_stroke(rng) for _ in range(rng.randint(4, 6))]
    return [_program(rng, strokes) for _ in range(count)]


def drawing(rng: random.Random, character: Character, drawer: random.Random) -> Image.Image:
    """Grey, 28 x 28, black on white: the character as a drawer writes it this time.

    Args:
        drawer: gives the drawer's habits; the same draws for every character of the same drawer.
    """
    habit = _warp(drawer, turn=10.0, stretch=0.12, slant=0.2)
    matrix = habit @ _warp(rng, turn=6.0, stretch=0.08, slant=0.08)
    width = drawer.uniform(1.0, 2.4)
    move = np.array([rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12)])
    side = SIDE * ZOOM
    image = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(image)
    for stroke in character:
        points = (_shaken(rng, stroke) @ matrix.T + move + 1) * side / 2
        draw.line([tuple(p) for p in points.tolist()], fill=0, width=round(width * ZOOM), joint="curve")
    return image.reduce(ZOOM)


def _stroke(rng: random.Random) -> np.ndarray:
    """A curve around the origin, about one unit long: straight, bent, hooked, wavy or closed to a loop."""
    t = np.linspace(0, 1, PIECES + 1)
    bend = rng.choice((0.0, 0.0, rng.uniform(0.8, 3.2), rng.uniform(3.2, 6.2)))
    hook = rng.choice((0.0, 0.0, rng.uniform(1.2, 2.6)))
    wave = rng.choice((0.0, 0.0, rng.uniform(1.0, 2.2)))
    direction = rng.uniform(0, math.tau) + bend * t + hook * (t > rng.uniform(0.4, 0.8)) + wave * np.sin(math.tau * t)
    steps = np.stack([np.cos(direction), np.sin(direction)], 1)[:-1] / PIECES
    points = np.concatenate([np.zeros((1, 2)), steps.cumsum(0)])
    centred: np.ndarray = points - points.mean(0)
    return centred * rng.uniform(0.9, 1.4)


def _program(rng: random.Random, strokes: list[np.ndarray]) -> Character:
    """Strokes of the alphabet, each turned by quarters, scaled, and begun on an earlier one or somewhere free."""
    character: Character = []
    for _ in range(rng.choices((1, 2, 3, 4), (1, 4, 4, 2))[0]):
        turn = _rotation(rng.choice((0.0, 0.0, 90.0, 180.0, 270.0)))
        points = rng.choice(strokes) @ turn.T * rng.choice((0.5, 0.75, 1.0))
        if character and rng.random() < 0.75:
            joint = rng.choice(character)[rng.choice((0, PIECES // 2, PIECES))]
            points = points - points[rng.choice((0, PIECES // 2))] + joint
        elif character:
            points = points + np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)])
        character.append(points)
    return _fitted(character)


def _fitted(character: Character) -> Character:
    """The character in the middle of the picture, as large as fits, without stretching it."""
    everything = np.concatenate(character)
    low, high = everything.min(0), everything.max(0)
    return [(stroke - (low + high) / 2) * 1.3 / (high - low).max() for stroke in character]


def _rotation(degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _warp(rng: random.Random, turn: float, stretch: float, slant: float) -> np.ndarray:
    """A random affine matrix (2, 2): turned, stretched along both axes, slanted."""
    sides = np.diag([math.exp(rng.gauss(0, stretch)), math.exp(rng.gauss(0, stretch))])
    slanted = np.array([[1, rng.gauss(0, slant)], [0, 1]])
    warp: np.ndarray = _rotation(rng.gauss(0, turn)) @ slanted @ sides
    return warp


def _shaken(rng: random.Random, stroke: np.ndarray) -> np.ndarray:
    """A stroke as a hand repeats it: a little turned, resized, out of place, and trembling slowly."""
    centre = stroke.mean(0)
    points: np.ndarray = (stroke - centre) @ _warp(rng, turn=8.0, stretch=0.12, slant=0.1).T + centre
    t = np.linspace(0, 1, PIECES + 1)
    for axis in (0, 1):
        points[:, axis] += rng.gauss(0, 0.06) + rng.gauss(0, 0.05) * np.sin(math.tau * t + rng.uniform(0, math.tau))
    return points
