"""Generated scenes: one dish of the labelled class among clutter, and the mask of that dish's pixels.

Plates and backgrounds do not depend on the class. The clutter is one to three smaller dishes of other classes, off the
centre.
"""

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter

from labs.shared.vision.dishes import DISHES
from labs.shared.vision.tile import BLUE, BROWN, DARK, WHITE, Point, Tile


def scene(rng: random.Random, label: int, photos: Sequence[Image.Image]) -> tuple[Image.Image, Image.Image]:
    """An image (RGB, 64 to 80 pixels a side) of a dish of class `label`, and the mask of the dish's pixels.

    Args:
        rng: all randomness; the same state gives the same scene.
        label: class of the dish.
        photos: larger photographs; random crops of them are some of the backgrounds.

    Returns:
        The image, and the mask (mode L, 0 or 255) of the same size.
    """
    # The background, then the clutter, then the plate and the dish itself.
    size = rng.randint(64, 80), rng.randint(64, 80)
    canvas = _background(rng, size, photos)
    for _ in range(rng.randint(1, 3)):
        other = rng.choice([c for c in range(len(DISHES)) if c != label])
        angle, reach = rng.uniform(0, math.tau), rng.uniform(0.35, 0.55)
        centre = 0.5 + reach * math.cos(angle), 0.5 + reach * math.sin(angle)
        _paste(rng, canvas, rng.choice(DISHES[other]), centre, rng.uniform(0.25, 0.42))
    centre, scale = (rng.gauss(0.5, 0.08), rng.gauss(0.5, 0.08)), rng.uniform(0.6, 1.0)
    if rng.random() < 0.6:
        _paste(rng, canvas, _plate, centre, scale * 1.25)
    dish, corner = _paste(rng, canvas, rng.choice(DISHES[label]), centre, scale)
    mask = Image.new("L", size)
    mask.paste(dish.getchannel("A").point([0] * 128 + [255] * 128), corner)
    if rng.random() < 0.4:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    # Colour cast, contrast, brightness and noise, as cameras differ.
    pixels = np.asarray(canvas, np.float32) * [rng.gauss(1, 0.1) for _ in range(3)]
    pixels = (pixels - 128) * rng.uniform(0.7, 1.15) + 128 + rng.gauss(0, 18)
    pixels += np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 9), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), mask


def _plate(t: Tile) -> None:
    """A round plate, or in a quarter of the cases a square board."""
    colour = t.tint(WHITE, BLUE, BROWN, DARK)
    if t.rng.random() < 0.25:
        t.box(-0.95, -0.8, 0.95, 0.8, colour, 0.1)
        return
    t.oval(0, 0, 0.95, 0.9, colour)
    t.oval(0, 0, 0.75, 0.7, tuple(round(c * 0.9) for c in colour))


def _paste(
    rng: random.Random, canvas: Image.Image, dish: Callable[[Tile], None], centre: Point, scale: float
) -> tuple[Image.Image, tuple[int, int]]:
    """Paste a dish onto the canvas, scaled and rotated at random; returns the pasted image and its top left corner.

    Args:
        centre: of the dish, in fractions of the canvas.
        scale: width of the dish, as a fraction of the canvas's shorter side.
    """
    tile = Tile(rng)
    dish(tile)
    side = max(8, round(scale * min(canvas.size)))
    shape = side, max(6, round(side * rng.uniform(0.7, 1.0)))
    small = tile.image.resize(shape, Image.Resampling.BILINEAR)
    small = small.rotate(rng.gauss(0, 28), Image.Resampling.BILINEAR, expand=True)
    corner = round(centre[0] * canvas.width - small.width / 2), round(centre[1] * canvas.height - small.height / 2)
    canvas.paste(small, corner, small)
    return small, corner


def _background(rng: random.Random, size: tuple[int, int], photos: Sequence[Image.Image]) -> Image.Image:
    """A crop of a photograph, or a cloudy, striped or chequered pattern of two colours."""
    kind = rng.choice(("photo", "photo", "cloud", "stripes", "checks"))
    if kind == "photo":
        photo, side = rng.choice(photos), rng.randint(60, 200)
        x, y = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
        return photo.resize(size, Image.Resampling.BILINEAR, (x, y, x + side, y + side))
    noise = np.random.default_rng(rng.getrandbits(32))
    base, other = noise.uniform(30, 230, (2, 3))
    if kind == "cloud":
        cells = base + noise.normal(0, 25, (5, 5, 3))
        return Image.fromarray(cells.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    period, (xs, ys) = rng.uniform(6, 24), np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    tilt = rng.uniform(0, math.pi)
    along, across = xs * math.cos(tilt) + ys * math.sin(tilt), ys * math.cos(tilt) - xs * math.sin(tilt)
    wave = np.floor(along / period) + (np.floor(across / period) if kind == "checks" else 0)
    pattern = np.where((wave % 2 == 0)[..., None], base, 0.5 * base + 0.5 * other)
    return Image.fromarray(pattern.astype(np.uint8))
