"""CIFAR-10's ten classes of objects, drawn on transparent tiles.

Shape distinguishes the classes more than colour does: all animals have the same colours of coats, all vehicles the same
paints.
"""

from collections.abc import Callable, Sequence

from labs.shared.vision.tile import Colour, Tile

PAINT: tuple[Colour, ...] = ((190, 40, 40), (40, 80, 170), (235, 235, 230), (40, 40, 45), (225, 180, 50), (60, 130, 80))
COAT: tuple[Colour, ...] = (
    (120, 80, 50),
    (60, 50, 45),
    (190, 150, 105),
    (225, 220, 210),
    (140, 140, 140),
    (90, 60, 40),
)
METAL: tuple[Colour, ...] = ((225, 230, 235), (160, 170, 180), (110, 120, 135), (70, 80, 95))
SKIN: tuple[Colour, ...] = ((90, 140, 60), (120, 120, 50), (60, 100, 60), (140, 110, 60))
GLASS: tuple[Colour, ...] = ((150, 190, 215), (50, 60, 80))
BLACK: tuple[Colour, ...] = ((25, 25, 28),)


def airplane(t: Tile) -> None:
    body, wing = t.tint(*METAL, *PAINT), t.tint(*METAL)
    if t.rng.random() < 0.5:  # from the side
        t.oval(0, 0, 0.9, 0.17, body)
        t.polygon([(-0.9, 0), (-0.95, -0.5), (-0.7, -0.5), (-0.5, 0)], wing)
        t.polygon([(-0.1, 0), (-0.45, 0.5), (-0.2, 0.5), (0.3, 0)], wing)
        t.box(0.6, -0.1, 0.75, 0, t.tint(*GLASS))
    else:  # from above
        t.oval(0, 0, 0.15, 0.9, body)
        sweep = t.rng.uniform(0, 0.4)
        t.polygon(
            [(0, -0.25), (-0.95, sweep), (-0.95, sweep + 0.15), (0, 0.15), (0.95, sweep + 0.15), (0.95, sweep)], wing
        )
        t.polygon([(0, 0.6), (-0.4, 0.85), (0.4, 0.85)], wing)


def automobile(t: Tile) -> None:
    body = t.tint(*PAINT, *METAL)
    front, back, roof = t.rng.uniform(0.25, 0.6), t.rng.uniform(-0.75, -0.4), t.rng.uniform(-0.6, -0.45)
    t.polygon([(back - 0.2, -0.1), (back, roof), (front - 0.2, roof), (front + 0.1, -0.1)], body)
    t.polygon(
        [(back - 0.05, -0.1), (back + 0.06, roof + 0.1), (front - 0.26, roof + 0.1), (front, -0.1)], t.tint(*GLASS)
    )
    t.box(-0.95, -0.12, 0.95, 0.35, body, 0.15)
    wheels(t, (-0.55, 0.55), 0.38, 0.22)


def bird(t: Tile) -> None:
    coat, other = t.tint(*COAT, *PAINT), t.tint(*COAT, *PAINT)
    if t.rng.random() < 0.4:  # in flight
        lift = t.rng.uniform(-0.7, -0.2)
        t.polygon([(-0.2, 0), (-0.95, lift), (-0.35, 0.25), (0.3, 0.2), (0.95, lift), (0.25, 0)], other)
    else:
        t.line([(-0.05, 0.4), (-0.1, 0.9)], t.tint(*BLACK), 0.06)
        t.line([(0.12, 0.4), (0.1, 0.9)], t.tint(*BLACK), 0.06)
    t.polygon([(-0.3, 0), (-0.95, 0.3), (-0.85, 0.45), (-0.2, 0.35)], coat)
    t.oval(0, 0.15, 0.45, 0.32, coat)
    t.oval(-0.05, 0.15, 0.3, 0.16, other)
    t.oval(0.42, -0.25, 0.23, 0.22, coat)
    t.polygon([(0.6, -0.32), (0.92, -0.2), (0.6, -0.12)], t.tint((235, 150, 40), (60, 50, 40)))
    t.oval(0.47, -0.3, 0.05, 0.05, t.tint(*BLACK))


def cat(t: Tile) -> None:
    coat = t.tint(*COAT)
    if t.rng.random() < 0.5:  # sitting, seen from the front
        t.oval(0, 0.5, 0.42, 0.48, coat)
        tail = t.rng.uniform(0.5, 0.9)
        t.line([(0.3, 0.8), (tail, 0.7), (tail, 0.2)], coat, 0.13)
        head(t, 0, -0.25, 0.42, coat, ears="pointed")
    else:
        four_legs(t, coat, height=0.35, leg=0.1, length=0.55)
        t.line([(-0.55, 0.1), (-0.85, -0.2), (-0.7, -0.75)], coat, 0.12)
        head(t, 0.6, -0.15, 0.3, coat, ears="pointed")


def deer(t: Tile) -> None:
    coat = t.tint(*COAT[:3], *COAT[5:])
    four_legs(t, coat, height=0.62, leg=0.08, length=0.5)
    t.polygon([(0.3, 0.05), (0.5, -0.5), (0.7, -0.45), (0.6, 0.2)], coat)
    t.oval(0.72, -0.45, 0.24, 0.13, coat)
    horn, spread = t.tint((150, 120, 80), (70, 55, 40)), t.rng.uniform(0.15, 0.4)
    for side in (-spread, spread * 0.6):
        t.line([(0.58, -0.55), (0.58 + side, -0.95)], horn, 0.06)
        t.line([(0.58 + side / 2, -0.75), (0.58 + side * 1.6, -0.8)], horn, 0.05)
    t.oval(-0.52, 0.02, 0.1, 0.12, t.tint(COAT[3]))


def dog(t: Tile) -> None:
    coat = t.tint(*COAT)
    if t.rng.random() < 0.5:
        t.oval(0, 0.55, 0.45, 0.45, coat)
        head(t, 0, -0.2, 0.42, coat, ears="hanging")
    else:
        four_legs(t, coat, height=0.45, leg=0.13, length=0.55)
        t.line([(-0.55, 0), (-0.9, t.rng.uniform(-0.5, 0))], coat, 0.11)
        head(t, 0.6, -0.2, 0.3, coat, ears="hanging")


def frog(t: Tile) -> None:
    skin, dark = t.tint(*SKIN), t.tint(*SKIN)
    for side in (-1, 1):
        t.oval(side * 0.6, 0.4, 0.32, 0.28, dark)
        t.line([(side * 0.6, 0.6), (side * 0.95, 0.7)], dark, 0.12)
    t.oval(0, 0.2, 0.6, 0.5, skin)
    t.oval(0, 0.4, 0.4, 0.25, t.tint((210, 215, 160), *SKIN))
    for side in (-1, 1):
        t.oval(side * 0.35, -0.3, 0.2, 0.2, skin)
        t.oval(side * 0.35, -0.32, 0.1, 0.1, t.tint(*BLACK, (230, 200, 60)))
    t.dots(t.rng.randint(0, 6), 0.06, *SKIN, spread=0.5)


def horse(t: Tile) -> None:
    coat, mane = t.tint(*COAT), t.tint(*COAT, *BLACK)
    four_legs(t, coat, height=0.6, leg=0.11, length=0.6)
    t.polygon([(0.3, 0.1), (0.45, -0.6), (0.75, -0.65), (0.65, 0.2)], coat)
    t.polygon([(0.5, -0.7), (0.72, -0.75), (0.98, -0.35), (0.85, -0.25), (0.6, -0.4)], coat)
    t.line([(0.5, -0.7), (0.35, -0.1)], mane, 0.14)
    t.line([(-0.58, 0), (-0.8, 0.2), (-0.75, 0.65)], mane, 0.16)


def ship(t: Tile) -> None:
    hull, deck = t.tint(*PAINT, *METAL), t.tint(*METAL, *PAINT)
    t.polygon([(-0.95, 0.15), (0.95, t.rng.uniform(-0.05, 0.15)), (0.7, 0.6), (-0.8, 0.6)], hull)
    if t.rng.random() < 0.5:
        t.box(-0.6, -0.2, 0.3, 0.15, deck)
        t.box(-0.4, -0.45, 0.05, -0.2, t.tint(*METAL, *GLASS))
        t.box(-0.3, -0.8, -0.1, -0.45, t.tint(*PAINT))
    else:
        t.line([(0, 0.15), (0, -0.95)], t.tint(*BLACK, *COAT), 0.06)
        t.polygon([(0.06, -0.9), (0.06, 0.05), (0.7, 0.05)], t.tint(*METAL, *PAINT))
        t.polygon([(-0.06, -0.8), (-0.06, 0.05), (-0.55, 0.05)], deck)


def truck(t: Tile) -> None:
    cab, load = t.tint(*PAINT), t.tint(*PAINT, *METAL)
    edge, top = t.rng.uniform(0.2, 0.4), t.rng.uniform(-0.75, -0.4)
    t.box(-0.95, top, edge, 0.35, load)
    t.polygon([(edge + 0.05, 0.35), (edge + 0.05, -0.35), (0.75, -0.35), (0.95, 0.05), (0.95, 0.35)], cab)
    t.polygon([(edge + 0.15, 0), (edge + 0.15, -0.25), (0.7, -0.25), (0.82, 0)], t.tint(*GLASS))
    wheels(t, (-0.7, -0.3, 0.6), 0.42, 0.19)


DRAW_FUNCTIONS: tuple[Callable[[Tile], None], ...] = (
    airplane,
    automobile,
    bird,
    cat,
    deer,
    dog,
    frog,
    horse,
    ship,
    truck,
)


def wheels(t: Tile, places: Sequence[float], y: float, radius: float) -> None:
    for x in places:
        t.oval(x, y, radius, radius, t.tint(*BLACK))
        t.oval(x, y, radius / 2, radius / 2, t.tint(*METAL))


def four_legs(t: Tile, coat: Colour, height: float, leg: float, length: float) -> None:
    """A body on four walking legs.

    Args:
        height: length of the legs.
        leg: width of a leg.
        length: half the length of the body.
    """
    for x in (-length, -length + 0.2, length - 0.25, length - 0.05):
        t.line([(x, 0.15), (x + t.rng.uniform(-0.15, 0.15), 0.25 + height)], coat, leg)
    t.oval(0, 0.1, length + 0.1, t.rng.uniform(0.22, 0.32), coat)


def head(t: Tile, x: float, y: float, size: float, coat: Colour, *, ears: str) -> None:
    """The round head of a cat with `pointed` ears and whiskers, or of a dog with `hanging` ears and a muzzle."""
    for side in (-1, 1):
        if ears == "pointed":
            t.polygon([(x + side * 0.95 * size, y - 0.2 * size), (x + side * 0.75 * size, y - 1.5 * size),
                       (x + side * 0.1 * size, y - 0.85 * size)], coat)  # fmt: skip
        else:
            t.oval(x + side * size, y + 0.15 * size, 0.32 * size, 0.75 * size, t.tint(*COAT, *BLACK))
    t.oval(x, y, size, 0.9 * size, coat)
    if ears == "hanging":
        t.oval(x, y + 0.45 * size, 0.5 * size, 0.45 * size, t.tint(*COAT[2:4]))
        t.oval(x, y + 0.3 * size, 0.2 * size, 0.15 * size, t.tint(*BLACK))
    for side in (-1, 1):
        t.oval(x + side * 0.4 * size, y - 0.15 * size, 0.14 * size, 0.14 * size, t.tint(*BLACK, (110, 160, 60)))
