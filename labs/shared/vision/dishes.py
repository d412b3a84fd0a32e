"""Dishes of the eleven Food-11 classes, each drawn on a transparent tile.

A dish can be recognised by its shape, texture and colour together, as in photographs, but by none of them alone:
several classes share each colour.
"""

import math
from collections.abc import Callable

from labs.shared.vision.tile import (
    BLUE,
    BROWN,
    CLEAR,
    CREAM,
    CRUST,
    DARK,
    GOLD,
    GREEN,
    LEAF,
    ORANGE,
    PINK,
    RED,
    WHITE,
    YELLOW,
    Tile,
)


def loaf(t: Tile) -> None:
    t.blob(0, 0, 0.9, 0.5, t.tint(CRUST, BROWN), 0.05)
    t.blob(0, -0.06, 0.78, 0.36, t.tint(CRUST, GOLD), 0.05)
    for x in (-0.5, -0.15, 0.2, 0.55):
        t.line([(x - 0.1, -0.3), (x + 0.1, 0.2)], t.tint(CREAM), 0.07)


def toast(t: Tile) -> None:
    t.box(-0.7, -0.7, 0.7, 0.75, t.tint(CRUST, BROWN), 0.25)
    t.box(-0.58, -0.58, 0.58, 0.63, t.tint(CREAM, GOLD), 0.2)
    t.dots(25, 0.03, CRUST, CREAM, spread=0.5)


def bagel(t: Tile) -> None:
    t.blob(0, 0, 0.8, 0.75, t.tint(CRUST, GOLD), 0.04)
    t.dots(20, 0.035, CREAM, DARK, spread=0.7)
    t.oval(0, 0, 0.24, 0.2, CLEAR)


def cheese(t: Tile) -> None:
    t.polygon([(-0.85, 0.1), (0.8, -0.55), (0.85, 0.1)], t.tint(CREAM, YELLOW))
    t.polygon([(-0.85, 0.1), (0.85, 0.1), (0.85, 0.6), (-0.85, 0.6)], t.tint(YELLOW, GOLD))
    for x in (-0.5, 0.0, 0.5):
        t.oval(x, t.rng.uniform(0.2, 0.5), 0.12, 0.1, t.tint(GOLD))


def milk(t: Tile) -> None:
    t.polygon([(-0.5, -0.85), (0.5, -0.85), (0.4, 0.85), (-0.4, 0.85)], t.tint(BLUE))
    t.polygon([(-0.45, -0.5), (0.45, -0.5), (0.36, 0.8), (-0.36, 0.8)], t.tint(WHITE))
    t.oval(0, -0.5, 0.45, 0.12, t.tint(WHITE, CREAM))


def butter(t: Tile) -> None:
    t.box(-0.8, -0.35, 0.8, 0.4, t.tint(YELLOW, CREAM))
    t.polygon([(-0.8, -0.35), (-0.6, -0.6), (0.95, -0.6), (0.8, -0.35)], t.tint(CREAM, WHITE))
    for x in (0.2, 0.45):
        t.line([(x, -0.35), (x, 0.4)], t.tint(GOLD), 0.04)


def cake(t: Tile) -> None:
    icing, crumb = t.tint(PINK, WHITE, BROWN), t.tint(CREAM, BROWN)
    t.polygon([(-0.85, -0.1), (0.8, -0.65), (0.85, -0.1)], icing)
    for layer, colour in enumerate((crumb, icing, crumb)):
        t.box(-0.85, -0.1 + layer * 0.25, 0.85, 0.15 + layer * 0.25, colour)
    t.oval(0.45, -0.5, 0.16, 0.16, t.tint(RED))


def cupcake(t: Tile) -> None:
    t.polygon([(-0.6, 0), (0.6, 0), (0.4, 0.85), (-0.4, 0.85)], t.tint(PINK, BLUE, BROWN))
    for x in (-0.35, -0.1, 0.15, 0.4):
        t.line([(x, 0.05), (x * 0.7, 0.8)], t.tint(WHITE), 0.04)
    swirl = t.tint(PINK, WHITE, CREAM, BROWN)
    for y, rx in ((-0.1, 0.7), (-0.35, 0.5), (-0.6, 0.28)):
        t.blob(0, y, rx, 0.22, swirl, 0.06)


def donut(t: Tile) -> None:
    t.blob(0, 0, 0.8, 0.75, t.tint(CRUST, GOLD), 0.04)
    t.blob(0, 0, 0.68, 0.62, t.tint(PINK, WHITE, BROWN), 0.1)
    t.strokes(16, 0.05, 0.05, RED, YELLOW, GREEN, BLUE)
    t.oval(0, 0, 0.24, 0.2, CLEAR)


def fried_egg(t: Tile) -> None:
    t.blob(0, 0, 0.8, 0.7, t.tint(WHITE), 0.18)
    t.oval(*t.near(0.2), 0.3, 0.28, t.tint(YELLOW, ORANGE))


def boiled_eggs(t: Tile) -> None:
    for x in (-0.45, 0.45):
        t.blob(x, x * 0.3, 0.4, 0.55, t.tint(WHITE), 0.03)
        t.oval(x, x * 0.3 + 0.08, 0.22, 0.24, t.tint(YELLOW, GOLD))


def omelette(t: Tile) -> None:
    t.blob(0, 0, 0.9, 0.6, t.tint(YELLOW), 0.06)
    t.polygon([(-0.95, -0.05), (0.95, -0.05), (0.9, -0.8), (-0.9, -0.8)], CLEAR)
    t.dots(12, 0.05, GOLD, CRUST, spread=0.4)


def fries(t: Tile) -> None:
    for _ in range(18):
        (x, y), lean = t.near(0.5), t.rng.gauss(0, 0.25)
        t.line([(x - lean, y - 0.45), (x + lean, y + 0.45)], t.tint(YELLOW, GOLD), 0.13)


def nuggets(t: Tile) -> None:
    for _ in range(5):
        t.blob(*t.near(0.55), 0.34, 0.28, t.tint(GOLD, CRUST), 0.2)
    t.dots(30, 0.03, CRUST, CREAM, spread=0.7)


def onion_rings(t: Tile) -> None:
    for _ in range(4):
        (x, y), colour = t.near(0.5), t.tint(GOLD, CRUST)
        t.arc(x, y, t.rng.uniform(0.25, 0.38), 0, math.tau, colour, 0.16)


def steak(t: Tile) -> None:
    t.blob(0, 0, 0.85, 0.65, t.tint(CREAM, PINK), 0.14)
    t.blob(0.05, 0.03, 0.72, 0.52, t.tint(BROWN, RED), 0.14)
    for x in (-0.4, -0.1, 0.2, 0.5):
        t.line([(x - 0.15, -0.35), (x + 0.1, 0.35)], t.tint(DARK), 0.06)


def sausages(t: Tile) -> None:
    for y in (-0.4, 0.05, 0.5):
        colour = t.tint(BROWN, RED, CRUST)
        t.arc(0, y + 1.1, 1.3, -2.1, 1.05, colour, 0.26)


def skewers(t: Tile) -> None:
    for y in (-0.35, 0.3):
        t.line([(-0.95, y), (0.95, y)], t.tint(CREAM), 0.05)
        for x in (-0.6, -0.2, 0.2, 0.6):
            t.blob(x, y, 0.19, 0.24, t.tint(BROWN, BROWN, RED, DARK), 0.15)


def spaghetti(t: Tile) -> None:
    for _ in range(40):
        start, sweep, radius = t.rng.uniform(0, math.tau), t.rng.uniform(1, 3), t.rng.uniform(0.15, 0.5)
        t.arc(*t.near(0.4), radius, start, sweep, t.tint(CREAM, YELLOW, GOLD), 0.06)
    if t.rng.random() < 0.5:
        t.blob(*t.near(0.15), 0.35, 0.3, t.tint(RED, BROWN), 0.25)


def ramen(t: Tile) -> None:
    t.blob(0, 0, 0.85, 0.75, t.tint(CREAM, GOLD, CRUST), 0.04)
    for row in range(9):
        y, phase = -0.56 + row * 0.14, t.rng.uniform(0, math.tau)
        half = 0.8 * math.sqrt(1 - (y / 0.75) ** 2)
        wave = [(half * i / 8, y + 0.06 * math.sin(phase + i)) for i in range(-8, 9)]
        t.line(wave, t.tint(YELLOW, CREAM), 0.07)
    t.strokes(4, 0.15, 0.08, GREEN, PINK, BROWN, spread=0.4)


def penne(t: Tile) -> None:
    t.strokes(16, 0.24, 0.2, YELLOW, CREAM, ORANGE, spread=0.6)
    t.dots(6, 0.06, RED, LEAF)


def rice(t: Tile) -> None:
    t.blob(0, 0, 0.75, 0.6, t.tint(WHITE, CREAM), 0.1)
    t.strokes(90, 0.05, 0.05, WHITE, WHITE, BLUE)


def fried_rice(t: Tile) -> None:
    t.blob(0, 0, 0.75, 0.65, t.tint(GOLD, CREAM), 0.1)
    t.strokes(80, 0.05, 0.05, CREAM, YELLOW, GOLD)
    t.dots(14, 0.06, GREEN, ORANGE, RED)


def onigiri(t: Tile) -> None:
    t.polygon([(-0.12, -0.75), (0.12, -0.75), (0.8, 0.5), (0.65, 0.65), (-0.65, 0.65), (-0.8, 0.5)], t.tint(WHITE))
    t.strokes(40, 0.05, 0.04, WHITE, BLUE, spread=0.4)
    t.box(-0.28, 0.1, 0.28, 0.66, t.tint(DARK))


def fish(t: Tile) -> None:
    body = t.tint(BLUE, PINK, ORANGE, BROWN)
    t.polygon([(0.5, 0), (0.95, -0.4), (0.95, 0.4)], body)
    t.blob(-0.1, 0, 0.75, 0.36, body, 0.03)
    t.oval(-0.6, -0.08, 0.08, 0.08, t.tint(DARK))
    for x in (-0.3, -0.05, 0.2):
        t.arc(x - 0.2, 0, 0.28, -0.9, 1.8, t.tint(WHITE, DARK), 0.04)


def shrimps(t: Tile) -> None:
    for x, y in ((-0.4, -0.3), (0.4, -0.25), (0, 0.4)):
        start = t.rng.uniform(0, math.tau)
        t.arc(x, y, 0.3, start, 4.2, t.tint(ORANGE, PINK), 0.2)
        for step in range(5):
            angle = start + 0.4 + step * 0.8
            inner, outer = (x + 0.22 * math.cos(angle), y + 0.22 * math.sin(angle)), 0.38
            t.line([inner, (x + outer * math.cos(angle), y + outer * math.sin(angle))], t.tint(WHITE), 0.04)


def salmon(t: Tile) -> None:
    t.blob(0, 0, 0.9, 0.45, t.tint(ORANGE, PINK), 0.06)
    for x in (-0.6, -0.3, 0.0, 0.3, 0.6):
        t.arc(x - 0.35, 0, 0.4, -0.9, 1.8, t.tint(CREAM, PINK), 0.05)


def soup(t: Tile) -> None:
    t.oval(0, 0, 0.9, 0.8, t.tint(WHITE, BLUE, BROWN, DARK))
    t.oval(0, 0, 0.74, 0.64, t.tint(ORANGE, GOLD, RED, CREAM, GREEN))


def broth(t: Tile) -> None:
    soup(t)
    for _ in range(7):
        t.arc(*t.near(0.45), t.rng.uniform(0.05, 0.12), 0, math.tau, t.tint(YELLOW, CREAM), 0.03)
    t.dots(7, 0.05, GREEN, LEAF, spread=0.5)


def stew(t: Tile) -> None:
    soup(t)
    for _ in range(6):
        t.blob(*t.near(0.45), 0.13, 0.11, t.tint(BROWN, ORANGE, CREAM, GREEN), 0.2)


def bisque(t: Tile) -> None:
    soup(t)
    for radius in (0.15, 0.3, 0.45):
        t.arc(0, 0, radius, t.rng.uniform(0, math.tau), 3.5, t.tint(WHITE, CREAM), 0.06)


def apple(t: Tile) -> None:
    t.blob(0, 0.1, 0.7, 0.65, t.tint(RED, GREEN, YELLOW, ORANGE), 0.04)
    t.line([(0, -0.4), (0.1, -0.8)], t.tint(BROWN), 0.07)
    t.oval(-0.25, -0.15, 0.14, 0.1, t.tint(WHITE))


def carrots(t: Tile) -> None:
    for x in (-0.45, 0.05, 0.5):
        t.polygon([(x - 0.2, -0.3), (x + 0.2, -0.3), (x, 0.9)], t.tint(ORANGE, ORANGE, WHITE))
        for lean in (-0.15, 0, 0.15):
            t.line([(x, -0.3), (x + lean, -0.85)], t.tint(GREEN, LEAF), 0.08)


def salad(t: Tile) -> None:
    for _ in range(14):
        t.blob(*t.near(0.55), 0.26, 0.2, t.tint(GREEN, LEAF, LEAF), 0.3)
    t.dots(4, 0.13, RED, YELLOW, WHITE, spread=0.5)


DISHES: tuple[tuple[Callable[[Tile], None], ...], ...] = (
    (loaf, toast, bagel),
    (cheese, milk, butter),
    (cake, cupcake, donut),
    (fried_egg, boiled_eggs, omelette),
    (fries, nuggets, onion_rings),
    (steak, sausages, skewers),
    (spaghetti, ramen, penne),
    (rice, fried_rice, onigiri),
    (fish, shrimps, salmon),
    (broth, stew, bisque),
    (apple, carrots, salad),
)
"""Class -> the functions that draw its dishes."""
