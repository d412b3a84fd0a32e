"""Drawn pictures of CIFAR-10's ten classes, 32 x 32: objects in random styles on varied backgrounds.

As in photographs, each class has a background on which it is seen most often, and is also seen on the others. The
surface of each class has a faint stripe pattern in a direction of its own. It is a non-robust feature: useful for
classification, and changed by a small perturbation, which Ilyas et al. found to be behind attacks on photographs
(arXiv:1905.02175).
"""

import math
import random
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from labs.attack.objects import DRAW_FUNCTIONS
from labs.shared.vision.tile import Colour, Tile

SIDE = 32
"""Pixels of a picture's side, as in CIFAR-10."""
SKY: tuple[Colour, ...] = ((130, 175, 225), (190, 205, 220), (170, 190, 235))
SEA, ROAD, GRASS, POND, ROOM = (60, 100, 140), (120, 120, 120), (95, 140, 70), (70, 90, 60), (200, 170, 130)
STRIPE_LEVELS = (6.0, 14.0)
"""Range of the height of a class's stripes, of 255 levels; an attack may change 8. (0, 0) draws none."""
BACKGROUNDS: tuple[Colour, ...] = (SKY[0], ROAD, SKY[1], ROOM, GRASS, ROOM, POND, GRASS, SEA, ROAD)
"""Background colour on which a class is mostly seen."""


def draw_picture(rng: random.Random, label: int) -> Image.Image:
    """An object of class `label`, its number in `DRAW_FUNCTIONS`, in a random style on a random background."""
    canvas = _background(rng, label)
    tile = Tile(rng)
    DRAW_FUNCTIONS[label](tile)
    drawn = _style(rng, tile.image)
    side = round(SIDE * rng.uniform(0.85, 1.1))
    drawn = drawn.resize((side, round(side * rng.uniform(0.85, 1.1))), Image.Resampling.BILINEAR)
    drawn = drawn.rotate(rng.gauss(0, 5), Image.Resampling.BILINEAR, expand=True)
    x, y = ((SIDE - length) / 2 + rng.gauss(0, 1) for length in drawn.size)
    canvas.paste(drawn, (round(x), round(y)), drawn)
    surface = Image.new("L", (SIDE, SIDE))
    surface.paste(drawn.getchannel("A"), (round(x), round(y)))
    # Random colour cast, contrast, brightness and noise; the stripes are on the object's surface only.
    pixels = np.asarray(canvas, np.float32) * [rng.gauss(1, 0.08) for _ in range(3)]
    pixels = (pixels - 128) * rng.uniform(0.45, 0.8) + 128 + rng.gauss(0, 12)
    pixels += np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 4), pixels.shape)
    pixels += (np.asarray(surface) / 255 * _stripes(rng, label))[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _stripes(rng: random.Random, label: int) -> np.ndarray:
    """Stripes, 3.2 to 3.8 pixels apart, in the direction of the class: (32, 32)."""
    angle = math.pi * label / len(DRAW_FUNCTIONS) + rng.gauss(0, 0.05)
    xs, ys = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    along = (xs * math.cos(angle) + ys * math.sin(angle)) * math.tau / rng.uniform(3.2, 3.8)
    stripes: np.ndarray = rng.uniform(*STRIPE_LEVELS) * np.cos(along + rng.uniform(0, math.tau))
    return stripes


def _style(rng: random.Random, drawn: Image.Image) -> Image.Image:
    """The object with flat colours as drawn, lit from one side, with an outline, or with a speckled texture."""
    style = rng.choice(("flat", "lit", "outline", "speckled"))
    alpha = drawn.getchannel("A")
    if style == "outline":
        thick = Image.new("RGBA", drawn.size, rng.choice(((20, 20, 20, 255), (240, 240, 240, 255))))
        thick.putalpha(alpha.filter(ImageFilter.MaxFilter(5)))
        return Image.alpha_composite(thick, drawn)
    if style == "flat":
        return drawn
    width, height = drawn.size
    if style == "lit":
        angle = rng.uniform(0, math.tau)
        xs, ys = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        light = 1 + 0.35 * (xs * math.cos(angle) + ys * math.sin(angle))
    else:
        light = np.random.default_rng(rng.getrandbits(32)).normal(1, 0.22, (height // 4, width // 4))
        light = light.repeat(4, 0).repeat(4, 1)
    shade = Image.fromarray((127 * light).clip(0, 255).astype(np.uint8))
    lit = ImageChops.overlay(drawn.convert("RGB"), Image.merge("RGB", [shade] * 3))
    lit.putalpha(alpha)
    return lit


@cache
def _photos() -> list[Image.Image]:
    """The two photographs that scikit-learn ships; crops of them are some of the backgrounds."""
    from sklearn.datasets import load_sample_images  # needed for drawing only

    return [Image.fromarray(photo) for photo in load_sample_images().images]


def _background(rng: random.Random, label: int) -> Image.Image:
    """A crop of a photograph, or a cloudy colour, mostly that of the class, often below a sky."""
    if rng.random() < 0.2:
        photo, side = rng.choice(_photos()), rng.randint(40, 160)
        x, y = rng.randint(0, photo.width - side), rng.randint(0, photo.height - side)
        return photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (x, y, x + side, y + side))
    pixels = np.empty((SIDE, SIDE, 3))
    pixels[:] = BACKGROUNDS[label] if rng.random() < 0.7 else rng.choice(BACKGROUNDS)
    if rng.random() < 0.5:
        pixels[: rng.randint(6, 18)] = rng.choice(SKY)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(128, rng.uniform(2, 20), (6, 6, 3))
    cells = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    clouds = np.asarray(cells.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float64) - 128
    return Image.fromarray((pixels + clouds).clip(0, 255).astype(np.uint8))
