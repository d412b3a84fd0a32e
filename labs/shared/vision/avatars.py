"""Generated faces in the styles of the package `dicebear-styles`, with all factors of variation known.

Parts of a face (hair, eyes, mouth, ...) come in a few dozen variants each; colours, pose and the positions of the parts
vary continuously, so that no two faces are equal.
"""

import colorsys
import io
import json
import random
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from dicebear import Style

SIDE = 64
"""Pixels of a side."""
NORMAL = "adventurer"
NEAR = ("big-smile", "lorelei", "micah")
FAR = ("fun-emoji", "rings", "shapes")
"""Styles: the normal one, other styles of faces, and styles without human faces."""
CHANGES = ("mirrored", "swapped", "occluded", "recoloured")
"""Anomalies of a face of the normal style."""
SKINS = ("f2d3b1", "ecad80", "9e5622", "763900")
"""Skin colours of the normal style, from light to dark; a face's colour is interpolated between two neighbours."""
FACE = ("eyes", "eyebrows", "mouth", "glasses")
MIDDLE = {"hair": 391.6, "face": 360.0}
"""x of the axis of reflection, in units of the normal style (the image is 762 wide)."""
Color = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""


def avatar(rng: random.Random, style: str = NORMAL, change: str = "") -> tuple[np.ndarray, dict[str, Any]]:
    """A face (64, 64, 3) uint8, and the factors that it was drawn with.

    Args:
        rng: all randomness; the same state gives the same face.
        style: one of the package's styles.
        change: one of `CHANGES`, for the normal style only; empty for none.

    Returns:
        The image, and its factors: `style`, `change`; `skin`, `hair`, `background` (red, green, blue, 0 to 1); `scale`,
        `rotate` (degrees), `x` and `y` (per cent of the side); `parts` (part -> name of its variant).
    """
    from dicebear import Avatar

    skin, hair, background = _skin(rng), _color(rng, 0.15, 0.8, 0.25, 0.9), _color(rng, 0.0, 0.25, 0.8, 1.0)
    rotation = rng.uniform(0.3, 0.8)  # drawn even if not used, so that a change alters nothing else of the face
    if change == "recoloured":
        skin = _rotate_hue(skin, rotation)
    pose = {
        "scale": rng.uniform(0.92, 1.08),
        "rotate": rng.uniform(-6, 6),
        "x": rng.uniform(-3, 3),
        "y": rng.uniform(-3, 3),
    }
    options = {
        "seed": str(rng.getrandbits(48)),
        "skinColor": _hex(skin),
        "baseColor": _hex(skin),  # one of the other styles names the skin so
        "hairColor": _hex(hair),
        "scale": pose["scale"],
        "rotate": pose["rotate"],
        "translateX": pose["x"],
        "translateY": pose["y"],
    }
    drawn = Avatar(_style(style), options)
    svg, resolved = str(drawn), drawn.to_json()["options"]
    if style == NORMAL:
        svg = _displace(svg, rng, change)
    factors = {"style": style, "change": change, "skin": skin, "hair": hair, "background": background, **pose}
    factors["parts"] = {name[:-7]: value for name, value in resolved.items() if name.endswith("Variant")}
    return _render(svg, background), factors


@cache
def _style(name: str) -> "Style":
    from dicebear import Style

    return Style(json.loads((resources.files("dicebear_styles") / f"{name}.json").read_text()))


def _render(svg: str, background: Color) -> np.ndarray:
    import resvg_py

    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=SIDE, height=SIDE, background=_hex(background), skip_system_fonts=True
    )
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def _displace(svg: str, rng: random.Random, change: str) -> str:
    """Shift each part of a face of the normal style at random, and apply the anomaly `change`."""
    shifts = {part: (rng.uniform(-14, 14), rng.uniform(-14, 14)) for part in (*FACE, "hair")}
    mirrored = rng.choice(("hair", "face"))

    def move(match: re.Match[str]) -> str:
        part = match[3]
        dx, dy = shifts.get(part, (0.0, 0.0))
        x, y = float(match[1]) + dx, float(match[2]) + dy
        if change == "swapped":
            y += {"eyes": 100.0, "eyebrows": 100.0, "glasses": 100.0, "mouth": -130.0}.get(part, 0.0)
        reflection = ""
        if change == "mirrored" and (part == mirrored or (mirrored == "face" and part in FACE)):
            x, reflection = 2 * MIDDLE[mirrored] - x, " scale(-1 1)"
        return f'<use transform="translate({x:.2f} {y:.2f}){reflection}" href="#{part}-'

    svg = re.sub(r'<use transform="translate\((\S+) (\S+)\)" href="#(\w+)-', move, svg)
    return svg.replace("</g></svg>", f"{_patch(rng)}</g></svg>") if change == "occluded" else svg


def _patch(rng: random.Random) -> str:
    """SVG of a rounded rectangle that occludes a part of the face."""
    width, height = rng.uniform(110, 190), rng.uniform(110, 190)
    x, y = rng.uniform(200, 480) - width / 2, rng.uniform(300, 540) - height / 2
    color = _hex(_color(rng, 0.1, 0.6, 0.4, 0.9))
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" rx="30" fill="{color}"/>'


def _skin(rng: random.Random) -> Color:
    """A colour between two neighbours of `SKINS`."""
    position = rng.uniform(0, len(SKINS) - 1.001)
    light, dark = (_rgb(skin) for skin in SKINS[int(position) : int(position) + 2])
    red, green, blue = (a + (b - a) * (position % 1) for a, b in zip(light, dark, strict=True))
    return red, green, blue


def _color(
    rng: random.Random, least_saturation: float, most_saturation: float, least_value: float, most_value: float
) -> Color:
    """A colour of any hue, with saturation and value (HSV) between these limits."""
    return colorsys.hsv_to_rgb(
        rng.random(), rng.uniform(least_saturation, most_saturation), rng.uniform(least_value, most_value)
    )


def _rotate_hue(color: Color, fraction: float) -> Color:
    """The colour with its hue rotated by a fraction of the colour circle."""
    hue, saturation, value = colorsys.rgb_to_hsv(*color)
    return colorsys.hsv_to_rgb((hue + fraction) % 1, saturation, value)


def _rgb(code: str) -> Color:
    red, green, blue = (int(code[place : place + 2], 16) / 255 for place in (0, 2, 4))
    return red, green, blue


def _hex(color: Color) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)
