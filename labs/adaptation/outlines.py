"""Outlines of the ten classes of objects, each from several sides; generated photographs and drawings share them.

Each function adds the parts of an object to an `Outline`, from back to front, in the square from -0.9 to 0.9.
"""

import math
from collections.abc import Callable

import numpy as np

from labs.adaptation.shape_primitives import Outline, Part


def horse_side(o: Outline) -> None:
    for x, step in ((-0.42, -0.06), (-0.3, 0.06), (0.26, -0.06), (0.38, 0.08)):
        o.limb(x, 0.15, x + step + o.rng.gauss(0, 0.05), 0.85, 0.11)
    o.line([(-0.52, -0.08), (-0.72, 0.1), (-0.7, 0.45)], 1, smooth=True)
    o.oval(-0.05, 0.05, 0.52, 0.24)
    o.area([(0.22, 0.05), (0.45, -0.62), (0.64, -0.6), (0.46, 0.12)])
    o.area([(0.44, -0.66), (0.6, -0.72), (0.9, -0.42), (0.82, -0.32), (0.52, -0.46)], smooth=True)
    o.area([(0.46, -0.64), (0.5, -0.84), (0.57, -0.66)])
    if o.chance(0.6):
        o.line([(0.44, -0.62), (0.34, -0.35), (0.2, -0.05)], 1, smooth=True)


def horse_head(o: Outline) -> None:
    o.area([(-0.75, 0.9), (-0.45, -0.05), (0.0, -0.55), (0.3, -0.3), (0.1, 0.2), (0.15, 0.9)], smooth=True)
    o.area([(-0.05, -0.55), (0.2, -0.6), (0.75, 0.15), (0.65, 0.4), (0.4, 0.38), (0.0, -0.05)], smooth=True)
    o.area([(-0.1, -0.5), (-0.05, -0.88), (0.12, -0.55)])
    o.oval(0.22, -0.25, 0.06, 0.06, 3)
    o.oval(0.58, 0.2, 0.04, 0.04, 3)
    o.line([(-0.15, -0.6), (-0.5, -0.25), (-0.6, 0.2), (-0.8, 0.6)], 1, smooth=True)


def bed_side(o: Outline) -> None:
    o.box(-0.85, -0.45, -0.72, 0.65, 1)
    o.box(0.72, -0.1, 0.84, 0.65, 1)
    o.box(-0.72, 0.12, 0.72, 0.42)
    if o.chance(0.7):
        o.area([(-0.25, 0.1), (0.72, 0.1), (0.72, 0.35), (-0.25, 0.35)], 2)
    o.oval(-0.48, 0.03, 0.2, 0.1, 2)


def bed_corner(o: Outline) -> None:
    o.area([(-0.85, 0.0), (-0.25, -0.4), (-0.25, -0.8), (-0.85, -0.45)], 1)
    o.area([(-0.85, 0.05), (-0.25, -0.35), (0.85, 0.1), (0.25, 0.6)])
    o.area([(-0.85, 0.05), (0.25, 0.6), (0.25, 0.82), (-0.85, 0.28)], 1)
    o.area([(0.25, 0.6), (0.85, 0.1), (0.85, 0.32), (0.25, 0.82)], 1)
    o.area([(-0.62, 0.0), (-0.3, -0.22), (-0.1, -0.12), (-0.42, 0.1)], 2)


def bed_front(o: Outline) -> None:
    o.area([(-0.6, -0.1), (-0.6, -0.65), (0.0, -0.78), (0.6, -0.65), (0.6, -0.1)], 1)
    o.area([(-0.55, -0.2), (0.55, -0.2), (0.75, 0.5), (-0.75, 0.5)])
    for x in (-0.28, 0.28):
        o.area([(x - 0.2, -0.22), (x + 0.2, -0.22), (x + 0.21, -0.05), (x - 0.21, -0.05)], 2)
    o.box(-0.78, 0.5, 0.78, 0.72, 1)


def _clock_face(o: Outline, x: float, y: float, r: float) -> None:
    ticks = o.rng.choice((0, 4, 4, 12))
    for k in range(ticks):
        c, s = math.cos(math.tau * k / ticks), math.sin(math.tau * k / ticks)
        o.parts.append(
            Part(np.array([(x + 0.8 * r * c, y + 0.8 * r * s), (x + 0.95 * r * c, y + 0.95 * r * s)]), False, 3)
        )
    for length in (0.5, 0.75):
        angle = o.rng.uniform(0, math.tau)
        o.line([(x, y), (x + length * r * math.cos(angle), y + length * r * math.sin(angle))])


def clock_round(o: Outline) -> None:
    o.oval(0, 0, 0.8, 0.8, 1)
    if o.chance(0.6):
        o.oval(0, 0, 0.66, 0.66, 2)
    _clock_face(o, 0, 0, 0.66)


def clock_alarm(o: Outline) -> None:
    o.limb(-0.3, 0.5, -0.5, 0.85, 0.12, 1)
    o.limb(0.3, 0.5, 0.5, 0.85, 0.12, 1)
    o.oval(-0.42, -0.58, 0.24, 0.16, 1, -40)
    o.oval(0.42, -0.58, 0.24, 0.16, 1, 40)
    o.oval(0, 0.05, 0.62, 0.62, 0)
    o.oval(0, 0.05, 0.48, 0.48, 2)
    _clock_face(o, 0, 0.05, 0.48)


def clock_square(o: Outline) -> None:
    o.box(-0.72, -0.72, 0.72, 0.72, 1)
    o.oval(0, 0, 0.56, 0.56, 2)
    _clock_face(o, 0, 0, 0.56)


APPLE = ((0, -0.42), (0.3, -0.55), (0.68, -0.3), (0.65, 0.3), (0.35, 0.75), (0, 0.68), (-0.35, 0.75), (-0.65, 0.3))


def apple_whole(o: Outline) -> None:
    o.area([*APPLE, (-0.68, -0.3), (-0.3, -0.55)], smooth=True)
    o.line([(0, -0.42), (0.03, -0.65), (0.12, -0.85)], 1, smooth=True)
    if o.chance(0.7):
        o.area([(0.08, -0.62), (0.3, -0.85), (0.52, -0.78), (0.3, -0.6)], 2, smooth=True)


def apple_bitten(o: Outline) -> None:
    bite = [(0.5, -0.28), (0.38, -0.05), (0.55, 0.2)]
    o.area([(0, -0.42), (0.3, -0.55), *bite, *APPLE[4:], (-0.68, -0.3), (-0.3, -0.55)], smooth=True)
    o.line([(0, -0.42), (-0.02, -0.65), (0.08, -0.85)], 1, smooth=True)


def cat_face(o: Outline) -> None:
    for side in (-1, 1):
        o.area([(side * 0.62, -0.25), (side * 0.62, -0.85), (side * 0.18, -0.52)])
    o.oval(0, 0.05, 0.68, 0.6)
    for side in (-1, 1):
        o.oval(side * 0.25, -0.08, 0.09, 0.1, 2)
        for y in (0.18, 0.32):
            o.line([(side * 0.22, y), (side * 0.85, y + o.rng.gauss(0, 0.1))])
    o.area([(-0.08, 0.16), (0.08, 0.16), (0, 0.28)], 1)
    o.line([(-0.16, 0.42), (0, 0.3), (0.16, 0.42)], smooth=True)


def cat_sitting(o: Outline) -> None:
    o.line([(0.3, 0.75), (0.7, 0.65), (0.72, 0.25), (0.55, 0.0)], 0, smooth=True)
    o.oval(0.05, 0.38, 0.38, 0.48)
    for side in (-1, 1):
        o.area([(-0.05 + side * 0.32, -0.4), (-0.05 + side * 0.34, -0.85), (-0.05 + side * 0.08, -0.6)])
    o.oval(-0.05, -0.32, 0.36, 0.32)
    for side in (-1, 1):
        o.oval(-0.05 + side * 0.14, -0.36, 0.05, 0.05, 2)
        o.line([(-0.05 + side * 0.12, -0.2), (-0.05 + side * 0.5, -0.18)])
    o.limb(-0.12, 0.4, -0.16, 0.86, 0.13)
    o.limb(0.14, 0.4, 0.12, 0.86, 0.13)


def cat_walking(o: Outline) -> None:
    o.line([(-0.5, 0.05), (-0.78, -0.2), (-0.7, -0.6)], 0, smooth=True)
    for x in (-0.42, -0.25, 0.2, 0.36):
        o.limb(x, 0.25, x + o.rng.gauss(0, 0.06), 0.75, 0.11)
    o.oval(-0.05, 0.15, 0.5, 0.2)
    for side in (-1, 1):
        o.area([(0.52 + side * 0.22, -0.3), (0.52 + side * 0.24, -0.62), (0.52 + side * 0.05, -0.42)])
    o.oval(0.52, -0.14, 0.27, 0.25)
    for side in (-1, 1):
        o.line([(0.52 + side * 0.1, -0.06), (0.52 + side * 0.38, -0.04)])


def plane_above(o: Outline) -> None:
    for side in (-1, 1):
        o.area([(-0.05, side * 0.1), (-0.35, side * 0.85), (-0.15, side * 0.85), (0.3, side * 0.1)], 1)
        o.area([(-0.68, side * 0.05), (-0.85, side * 0.35), (-0.72, side * 0.35), (-0.5, side * 0.05)], 1)
    o.area([(-0.82, -0.06), (0.6, -0.13), (0.88, 0), (0.6, 0.13), (-0.82, 0.06)], smooth=True)


def plane_side(o: Outline) -> None:
    o.area([(-0.8, -0.05), (-0.88, -0.5), (-0.68, -0.5), (-0.45, -0.1)], 1)
    o.area([(-0.85, -0.1), (0.55, -0.18), (0.88, 0.05), (0.6, 0.18), (-0.55, 0.15)], smooth=True)
    o.area([(-0.05, 0.05), (-0.42, 0.52), (-0.25, 0.52), (0.28, 0.08)], 1)
    for x in (-0.2, 0.05, 0.3):
        o.oval(x, -0.05, 0.05, 0.05, 2)


def plane_rising(o: Outline) -> None:
    o.area([(-0.05, -0.1), (-0.62, -0.55), (-0.42, -0.6), (0.22, -0.25)], 1)
    o.area([(-0.72, 0.42), (0.5, -0.5), (0.78, -0.6), (0.72, -0.32), (-0.52, 0.6)], smooth=True)
    o.area([(0.05, 0.1), (0.22, 0.82), (0.38, 0.78), (0.36, -0.08)], 1)
    o.area([(-0.6, 0.45), (-0.88, 0.3), (-0.8, 0.2), (-0.45, 0.32)], 1)


def television_old(o: Outline) -> None:
    for side in (-1, 1):
        o.line([(0, -0.42), (side * 0.42, -0.88)])
    o.box(-0.78, -0.42, 0.78, 0.62, 1)
    right = 0.45 if o.chance(0.7) else 0.66
    o.box(-0.66, -0.3, right, 0.5, 2)
    if right < 0.6:
        for y in (-0.12, 0.12):
            o.oval(0.62, y, 0.07, 0.07, 0)
    for side in (-1, 1):
        o.limb(side * 0.5, 0.62, side * 0.56, 0.84, 0.09, 1)


def television_flat(o: Outline) -> None:
    o.limb(0, 0.4, 0, 0.66, 0.14, 1)
    o.box(-0.4, 0.62, 0.4, 0.74, 1)
    o.box(-0.86, -0.6, 0.86, 0.42, 1)
    if o.chance(0.75):
        o.box(-0.76, -0.5, 0.76, 0.32, 2)


def dog_standing(o: Outline) -> None:
    o.line([(-0.5, -0.05), (-0.68, -0.3), (-0.62, -0.55)], 0, smooth=True)
    for x in (-0.44, -0.28, 0.2, 0.36):
        o.limb(x, 0.2, x + o.rng.gauss(0, 0.05), 0.75, 0.14)
    o.box(-0.54, -0.14, 0.46, 0.3)
    o.area([(0.3, -0.52), (0.58, -0.58), (0.66, -0.38), (0.9, -0.34), (0.88, -0.14), (0.5, -0.05), (0.32, -0.12)])
    o.area([(0.32, -0.56), (0.46, -0.5), (0.42, -0.12), (0.26, -0.16)], 1, smooth=True)
    o.oval(0.86, -0.3, 0.05, 0.05, 3)


def dog_face(o: Outline) -> None:
    o.oval(0, 0, 0.5, 0.62)
    for side in (-1, 1):
        o.area([(side * 0.4, -0.6), (side * 0.78, -0.4), (side * 0.8, 0.25), (side * 0.56, 0.15)], 1, smooth=True)
        o.oval(side * 0.2, -0.18, 0.07, 0.08, 3)
    o.oval(0, 0.3, 0.28, 0.22, 2)
    o.oval(0, 0.18, 0.11, 0.08, 3)
    if o.chance(0.6):
        o.area([(-0.09, 0.46), (0.09, 0.46), (0.08, 0.78), (-0.08, 0.78)], 1, smooth=True)


def dog_sitting(o: Outline) -> None:
    o.line([(-0.42, 0.72), (-0.75, 0.6), (-0.8, 0.35)], 0, smooth=True)
    o.area([(0.1, -0.3), (0.3, 0.1), (0.3, 0.82), (-0.5, 0.82), (-0.52, 0.5), (-0.25, 0.1)], smooth=True)
    o.limb(0.2, 0.2, 0.24, 0.84, 0.15)
    o.area([(-0.05, -0.68), (0.28, -0.74), (0.4, -0.52), (0.72, -0.46), (0.7, -0.24), (0.3, -0.18), (0, -0.22)])
    o.area([(-0.02, -0.7), (0.14, -0.64), (0.1, -0.16), (-0.1, -0.22)], 1, smooth=True)
    o.oval(0.68, -0.42, 0.05, 0.05, 3)


def dolphin_leaping(o: Outline) -> None:
    o.area([(-0.05, -0.4), (-0.2, -0.78), (0.16, -0.48)], 0)
    o.area([(0.9, 0.12), (0.66, -0.12), (0.3, -0.42), (-0.15, -0.42), (-0.55, -0.1), (-0.74, 0.38), (-0.62, 0.42),
            (-0.3, 0.12), (0.1, 0.0), (0.5, 0.1), (0.7, 0.16)], smooth=True)  # fmt: skip
    o.area([(-0.68, 0.32), (-0.9, 0.62), (-0.66, 0.52), (-0.42, 0.68)], 0)
    o.area([(0.22, 0.02), (0.1, 0.38), (0.38, 0.08)], 1)
    o.oval(0.58, -0.06, 0.04, 0.04, 3)


def dolphin_level(o: Outline) -> None:
    o.area([(-0.1, -0.24), (-0.28, -0.6), (0.2, -0.24)], 0)
    o.area([(0.9, 0.05), (0.6, -0.18), (0.1, -0.3), (-0.45, -0.12), (-0.74, -0.02), (-0.45, 0.12), (0.1, 0.24),
            (0.6, 0.16)], smooth=True)  # fmt: skip
    o.area([(-0.68, -0.02), (-0.9, -0.36), (-0.74, 0.0), (-0.9, 0.34)], 0)
    o.area([(0.2, 0.16), (0.02, 0.52), (0.38, 0.18)], 1)
    o.line([(0.9, 0.06), (0.6, 0.06)])


def _legs(o: Outline, x: float, y: float, reach: float) -> None:
    for side in (-1, 1):
        for k in range(4):
            tilt = math.radians(-55 + 36 * k + o.rng.gauss(0, 6))
            knee = x + side * 0.55 * reach * math.cos(tilt), y + 0.55 * reach * math.sin(tilt) - 0.16
            o.line([(x, y), knee, (x + side * reach * math.cos(tilt), y + reach * math.sin(tilt) + 0.08)])


def spider_above(o: Outline) -> None:
    _legs(o, 0, 0, 0.9)
    o.oval(0, 0.2, 0.28, 0.34)
    o.oval(0, -0.2, 0.18, 0.17)


def spider_hanging(o: Outline) -> None:
    o.line([(0, -0.92), (0, -0.1)])
    _legs(o, 0, 0.12, 0.75)
    o.oval(0, 0.14, 0.32, 0.3)
    for side in (-1, 1):
        o.oval(side * 0.1, 0.18, 0.06, 0.06, 2)


OBJECTS: tuple[tuple[Callable[[Outline], None], ...], ...] = (
    (horse_side, horse_head),
    (bed_side, bed_corner, bed_front),
    (clock_round, clock_alarm, clock_square),
    (apple_whole, apple_bitten),
    (cat_sitting, cat_walking, cat_face),
    (plane_above, plane_rising, plane_side),
    (television_flat, television_old),
    (dog_standing, dog_sitting, dog_face),
    (dolphin_leaping, dolphin_level),
    (spider_above, spider_hanging),
)
"""Class -> its views. Photographs mostly show the first one, drawings the last one: a part of the domain shift."""
