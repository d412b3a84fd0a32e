"""Pictures of the things in `outlines.py`: coloured as in a photograph, or drawn with a few wobbly lines."""

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from labs.adaptation.outlines import THINGS
from labs.adaptation.shape_primitives import Outline, Part

ZOOM = 3
"""Pictures are drawn three times as large, then shrunk: lines and edges come out smooth."""
PHOTO, SKETCH = 32, 28
"""Sides in pixels."""


def photo(rng: random.Random, label: int, photographs: Sequence[Image.Image]) -> Image.Image:
    """RGB, 32 x 32: a thing of class `label`, filled, lit from a side and textured, in front of a background.

    Args:
        photographs: larger photographs; pieces of them serve as some of the backgrounds.
    """
    side, noise = PHOTO * ZOOM, np.random.default_rng(rng.getrandbits(32))
    # A drawing fills its paper; a photograph need not, and favours other views.
    parts = _placed(rng, _thing(rng, label, favoured=0), rng.uniform(0.62, 1.0), 0.16, 12.0)
    background = _background(rng, noise, side, photographs)
    colours = _colours(noise, np.asarray(background, np.float32).mean((0, 1)))
    layer, mask = Image.new("RGB", (side, side)), Image.new("L", (side, side))
    for part in parts:
        points = [tuple(point) for point in _pixels(part.points, side)]
        for image, ink in ((layer, tuple(colours[part.role].astype(int).tolist())), (mask, 255)):
            if part.closed:
                ImageDraw.Draw(image).polygon(points, fill=ink)  # type: ignore[arg-type]
            else:
                ImageDraw.Draw(image).line(points, fill=ink, width=ZOOM, joint="curve")  # type: ignore[arg-type]
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    tilt = rng.uniform(0, math.tau)
    light = 1 + rng.uniform(0, 0.45) * (x * math.cos(tilt) + y * math.sin(tilt))
    grain = noise.normal(0, rng.uniform(0, 10), (side // 2, side // 2)).repeat(2, 0).repeat(2, 1)
    filled = Image.fromarray((np.asarray(layer) * light[..., None] + grain[..., None]).clip(0, 255).astype(np.uint8))
    scene = Image.composite(filled, background, mask).reduce(ZOOM)
    if rng.random() < 0.3:
        scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.6)))
    pixels = np.asarray(scene, np.float32) + noise.normal(0, rng.uniform(1, 6), (PHOTO, PHOTO, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def sketch(rng: random.Random, label: int) -> Image.Image:
    """Grey, 28 x 28: white lines on black, as a hasty hand draws a thing of class `label`."""
    side = SKETCH * ZOOM
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    width, through = rng.uniform(1.0, 1.9), rng.random() < 0.35
    parts = _placed(rng, _thing(rng, label, favoured=-1), rng.uniform(0.85, 1.05), 0.06, 9.0)
    if rng.random() < 0.4:  # the time was over before all of it was drawn
        parts = parts[: math.ceil(len(parts) * rng.uniform(0.3, 1.0))]
    small = {k for k, part in enumerate(parts) if np.ptp(part.points, 0).max() < 0.5}
    for k, part in enumerate(parts):
        if k in small and len(small) < len(parts) and rng.random() < 0.2:
            continue  # a hasty hand leaves out a detail now and then
        points = [tuple(point) for point in _pixels(_wobbled(rng, part), side)]
        if part.closed and not through:  # what lies behind stays hidden
            draw.polygon(points, fill=0)  # type: ignore[arg-type]
        draw.line(points, fill=rng.randint(190, 255), width=round(width * ZOOM), joint="curve")  # type: ignore[arg-type]
    return image.reduce(ZOOM)


def _thing(rng: random.Random, label: int, favoured: int) -> list[Part]:
    """The parts of a thing, in the view that is favoured or, in three of ten cases, in any."""
    outline = Outline(rng)
    views = THINGS[label]
    (rng.choice(views) if rng.random() < 0.3 else views[favoured])(outline)
    return outline.parts


def _placed(rng: random.Random, parts: list[Part], scale: float, shift: float, turn: float) -> list[Part]:
    """The parts mirrored or not, stretched, slanted, turned and moved together."""
    angle = math.radians(rng.gauss(0, turn))
    stretch = np.diag([rng.choice((-1, 1)) * scale * rng.uniform(0.85, 1.1), scale * rng.uniform(0.85, 1.1)])
    rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = rotate @ np.array([[1, rng.gauss(0, 0.1)], [0, 1]]) @ stretch
    move = np.array([rng.uniform(-shift, shift), rng.uniform(-shift, shift)])
    return [part._replace(points=part.points @ matrix.T + move) for part in parts]


def _wobbled(rng: random.Random, part: Part) -> np.ndarray:
    """The line along a part, shaking slowly, somewhat out of place; around an area it misses its own start a little."""
    points = np.concatenate([part.points, part.points[:1]]) if part.closed else part.points
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    at = np.linspace(0, along[-1] * (rng.uniform(0.92, 1.0) if part.closed else 1.0), max(3, int(along[-1] / 0.08)))
    line = np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], 1)
    for axis in (0, 1):
        line[:, axis] += rng.gauss(0, 0.025)
        for wave in (3.0, 8.0):
            line[:, axis] += rng.gauss(0, 0.032) * np.sin(wave * at + rng.uniform(0, math.tau))
    return line


def _pixels(points: np.ndarray, side: int) -> np.ndarray:
    return (points + 1) * side / 2


def _colours(noise: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """A colour (3) for each of four roles; the main one is lighter or darker than the background, the last one dark."""
    colours = noise.uniform(20, 235, (4, 3))
    while abs(colours[0].mean() - background.mean()) < 60:
        colours[0] = noise.uniform(0, 255, 3)
    colours[3] = colours[3] * 0.3
    return colours


def _background(
    rng: random.Random, noise: np.random.Generator, side: int, photographs: Sequence[Image.Image]
) -> Image.Image:
    """A piece of a photograph, or a cloudy wall."""
    if rng.random() < 0.6:
        whole, edge = rng.choice(photographs), rng.randint(60, 240)
        x, y = rng.randint(0, whole.width - edge), rng.randint(0, whole.height - edge)
        return whole.resize((side, side), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge))
    cells = noise.uniform(20, 235, 3) + noise.normal(0, 28, (4, 4, 3))
    return Image.fromarray(cells.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
