"""Characters of artificial alphabets: an alphabet has a set of strokes, a character is a short program that places some
of them, and each writer has a handwriting.

Points are in units of half the image's side, x to the right and y down.
"""

import math
import random

import numpy as np
from PIL import Image, ImageDraw

SIDE, ZOOM = 28, 3
"""Pixels of an image's side, and the factor by which images are drawn larger and then reduced, for smooth lines."""
SEGMENTS = 8
"""Line segments of a stroke."""
Character = list[np.ndarray]
"""Strokes, each the points (SEGMENTS + 1, 2) of a curve at its place in the character."""


def alphabet(rng: random.Random, count: int) -> list[Character]:
    """So many characters of one alphabet, each a program of one to four strokes from the alphabet's four to six."""
    strokes = [_stroke(rng) for _ in range(rng.randint(4, 6))]
    return [_program(rng, strokes) for _ in range(count)]


def drawing(rng: random.Random, character: Character, writer: random.Random) -> Image.Image:
    """A drawing of the character by a writer: grey, 28 x 28, black on white.

    Args:
        rng: draws what varies from drawing to drawing.
        writer: draws the handwriting; in the same state for every character of the same writer.
    """
    handwriting = _random_affine(writer, rotation=10.0, stretch=0.12, slant=0.2)
    matrix = handwriting @ _random_affine(rng, rotation=6.0, stretch=0.08, slant=0.08)
    width = writer.uniform(1.0, 2.4)
    shift = np.array([rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12)])
    side = SIDE * ZOOM
    image = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(image)
    for stroke in character:
        points = (_jittered(rng, stroke) @ matrix.T + shift + 1) * side / 2
        draw.line([tuple(p) for p in points.tolist()], fill=0, width=round(width * ZOOM), joint="curve")
    return image.reduce(ZOOM)


def _stroke(rng: random.Random) -> np.ndarray:
    """A curve around the origin, about one unit long: straight, bent, hooked, wavy or a closed loop."""
    t = np.linspace(0, 1, SEGMENTS + 1)
    bend = rng.choice((0.0, 0.0, rng.uniform(0.8, 3.2), rng.uniform(3.2, 6.2)))
    hook = rng.choice((0.0, 0.0, rng.uniform(1.2, 2.6)))
    wave = rng.choice((0.0, 0.0, rng.uniform(1.0, 2.2)))
    direction = rng.uniform(0, math.tau) + bend * t + hook * (t > rng.uniform(0.4, 0.8)) + wave * np.sin(math.tau * t)
    steps = np.stack([np.cos(direction), np.sin(direction)], 1)[:-1] / SEGMENTS
    points = np.concatenate([np.zeros((1, 2)), steps.cumsum(0)])
    centred: np.ndarray = points - points.mean(0)
    return centred * rng.uniform(0.9, 1.4)


def _program(rng: random.Random, strokes: list[np.ndarray]) -> Character:
    """A character: one to four of the alphabet's strokes, each rotated by a multiple of 90 degrees, scaled, and
    attached to an earlier one or placed freely."""
    character: Character = []
    for _ in range(rng.choices((1, 2, 3, 4), (1, 4, 4, 2))[0]):
        rotation = _rotation(rng.choice((0.0, 0.0, 90.0, 180.0, 270.0)))
        points = rng.choice(strokes) @ rotation.T * rng.choice((0.5, 0.75, 1.0))
        if character and rng.random() < 0.75:
            joint = rng.choice(character)[rng.choice((0, SEGMENTS // 2, SEGMENTS))]
            points = points - points[rng.choice((0, SEGMENTS // 2))] + joint
        elif character:
            points = points + np.array([rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6)])
        character.append(points)
    return _fit_to_image(character)


def _fit_to_image(character: Character) -> Character:
    """The character centred in the image and scaled to 1.3 half sides, its aspect ratio kept."""
    points = np.concatenate(character)
    low, high = points.min(0), points.max(0)
    return [(stroke - (low + high) / 2) * 1.3 / (high - low).max() for stroke in character]


def _rotation(degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _random_affine(rng: random.Random, rotation: float, stretch: float, slant: float) -> np.ndarray:
    """A random matrix (2, 2) that stretches along both axes, slants, then rotates.

    Args:
        rotation: standard deviation of the angle in degrees.
        stretch, slant: standard deviations of the logarithm of the stretch and of the slant.
    """
    stretched = np.diag([math.exp(rng.gauss(0, stretch)), math.exp(rng.gauss(0, stretch))])
    slanted = np.array([[1, rng.gauss(0, slant)], [0, 1]])
    matrix: np.ndarray = _rotation(rng.gauss(0, rotation)) @ slanted @ stretched
    return matrix


def _jittered(rng: random.Random, stroke: np.ndarray) -> np.ndarray:
    """A stroke with the variation of handwriting: a random affine map, a shift and a slow oscillation."""
    centre = stroke.mean(0)
    points: np.ndarray = (stroke - centre) @ _random_affine(rng, rotation=8.0, stretch=0.12, slant=0.1).T + centre
    t = np.linspace(0, 1, SEGMENTS + 1)
    for axis in (0, 1):
        points[:, axis] += rng.gauss(0, 0.06) + rng.gauss(0, 0.05) * np.sin(math.tau * t + rng.uniform(0, math.tau))
    return points
