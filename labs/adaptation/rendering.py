"""Renders the objects of `outlines.py` in both domains: as a coloured photograph, or as a few shaky lines."""

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from labs.adaptation.outlines import OBJECTS
from labs.adaptation.shape_primitives import Outline, Part

ZOOM = 3
"""Images are rendered three times as large and then reduced, which smooths lines and edges (supersampling)."""
PHOTO, SKETCH = 32, 28
"""Sides of a photograph and of a drawing in pixels."""


def photograph(rng: random.Random, label: int, photographs: Sequence[Image.Image]) -> Image.Image:
    """RGB, 32 x 32: an object of class `label`, filled, lit from a side and textured, in front of a background.

    Args:
        rng: all randomness; the same state gives the same image.
        label: class of the object.
        photographs: larger photographs; random crops of them are some of the backgrounds.
    """
    side, noise = PHOTO * ZOOM, np.random.default_rng(rng.getrandbits(32))
    # Objects are smaller than in drawings, off the centre, and mostly seen from another side.
    parts = _transform(rng, _parts(rng, label, preferred=0), rng.uniform(0.62, 1.0), 0.16, 12.0)
    background = _background(rng, noise, side, photographs)
    colours = _colours(noise, np.asarray(background, np.float32).mean((0, 1)))
    # The parts filled with their colours, and the mask of all of them.
    layer, mask = Image.new("RGB", (side, side)), Image.new("L", (side, side))
    for part in parts:
        points = [tuple(point) for point in _pixels(part.points, side)]
        for image, ink in ((layer, tuple(colours[part.role].astype(int).tolist())), (mask, 255)):
            if part.closed:
                ImageDraw.Draw(image).polygon(points, fill=ink)  # type: ignore[arg-type]
            else:
                ImageDraw.Draw(image).line(points, fill=ink, width=ZOOM, joint="curve")  # type: ignore[arg-type]
    # Shading from one side, and texture.
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    direction = rng.uniform(0, math.tau)
    light = 1 + rng.uniform(0, 0.45) * (x * math.cos(direction) + y * math.sin(direction))
    grain = noise.normal(0, rng.uniform(0, 10), (side // 2, side // 2)).repeat(2, 0).repeat(2, 1)
    filled = Image.fromarray((np.asarray(layer) * light[..., None] + grain[..., None]).clip(0, 255).astype(np.uint8))
    # The object before its background, at its final size; blur and sensor noise.
    scene = Image.composite(filled, background, mask).reduce(ZOOM)
    if rng.random() < 0.3:
        scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.6)))
    pixels = np.asarray(scene, np.float32) + noise.normal(0, rng.uniform(1, 6), (PHOTO, PHOTO, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def sketch(rng: random.Random, label: int) -> Image.Image:
    """Grey, 28 x 28: white lines on black, a hasty drawing of an object of class `label`."""
    side = SKETCH * ZOOM
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    width, transparent = rng.uniform(1.0, 1.9), rng.random() < 0.35
    parts = _transform(rng, _parts(rng, label, preferred=-1), rng.uniform(0.85, 1.05), 0.06, 9.0)
    if rng.random() < 0.4:  # an unfinished drawing
        parts = parts[: math.ceil(len(parts) * rng.uniform(0.3, 1.0))]
    small = {k for k, part in enumerate(parts) if np.ptp(part.points, 0).max() < 0.5}
    for k, part in enumerate(parts):
        if k in small and len(small) < len(parts) and rng.random() < 0.2:
            continue  # a detail left out
        points = [tuple(point) for point in _pixels(_shaky_line(rng, part), side)]
        if part.closed and not transparent:  # hides the lines behind it
            draw.polygon(points, fill=0)  # type: ignore[arg-type]
        draw.line(points, fill=rng.randint(190, 255), width=round(width * ZOOM), joint="curve")  # type: ignore[arg-type]
    return image.reduce(ZOOM)


def _parts(rng: random.Random, label: int, preferred: int) -> list[Part]:
    """The parts of an object in the preferred view or, with probability 0.3, in a random one."""
    outline = Outline(rng)
    views = OBJECTS[label]
    (rng.choice(views) if rng.random() < 0.3 else views[preferred])(outline)
    return outline.parts


def _transform(rng: random.Random, parts: list[Part], scale: float, shift: float, degrees: float) -> list[Part]:
    """One random affine map of all parts: reflection, stretch, shear, rotation and shift.

    Args:
        shift: largest shift, in halves of a side.
        degrees: standard deviation of the rotation.
    """
    angle = math.radians(rng.gauss(0, degrees))
    stretch = np.diag([rng.choice((-1, 1)) * scale * rng.uniform(0.85, 1.1), scale * rng.uniform(0.85, 1.1)])
    rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = rotate @ np.array([[1, rng.gauss(0, 0.1)], [0, 1]]) @ stretch
    move = np.array([rng.uniform(-shift, shift), rng.uniform(-shift, shift)])
    return [part._replace(points=part.points @ matrix.T + move) for part in parts]


def _shaky_line(rng: random.Random, part: Part) -> np.ndarray:
    """The line along a part with slow, wave-like deviations; around an area it may stop short of where it started."""
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
    """Coordinates from -1 to 1 as pixels."""
    return (points + 1) * side / 2


def _colours(noise: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """RGB colours (4, 3) of the four roles; role 0 contrasts with the background, role 3 is dark."""
    colours = noise.uniform(20, 235, (4, 3))
    while abs(colours[0].mean() - background.mean()) < 60:
        colours[0] = noise.uniform(0, 255, 3)
    colours[3] = colours[3] * 0.3
    return colours


def _background(
    rng: random.Random, noise: np.random.Generator, side: int, photographs: Sequence[Image.Image]
) -> Image.Image:
    """A crop of a photograph, or a cloudy pattern of one colour."""
    if rng.random() < 0.6:
        whole, edge = rng.choice(photographs), rng.randint(60, 240)
        x, y = rng.randint(0, whole.width - edge), rng.randint(0, whole.height - edge)
        return whole.resize((side, side), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge))
    cells = noise.uniform(20, 235, 3) + noise.normal(0, 28, (4, 4, 3))
    return Image.fromarray(cells.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
