"""Opens a picture of a user: only as a format that it may have, and not before its size is known."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labs.core.errors import BadInput

Kind = Literal["BMP", "GIF", "JPEG", "PNG", "WEBP"]
MAX_PIXELS = 64_000_000
"""Largest picture that is decoded, 200 MB in memory: a file of a few kilobytes can state any size."""


@contextmanager
def open_picture(source: Path | bytes, *kinds: Kind) -> Iterator[Image.Image]:
    """The picture of a file, or of a file's content, before it is decoded: its size and mode are known.

    What is done with the picture inside the `with` block, such as decoding it, may raise Pillow's errors.

    Raises:
        BadInput: it is no picture of these kinds, is broken or has more than `MAX_PIXELS`; the message is the end of a
            sentence.
    """
    kind = " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=kinds) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                size = f"{picture.width}x{picture.height}"
                raise BadInput(f"expected at most {MAX_PIXELS} pixels, found {size}")
            yield picture
    except BadInput:
        raise
    except UnidentifiedImageError:
        raise BadInput(f"expected a whole {kind} image, found a broken one: not a {kind} file") from None
    except Exception as error:  # each of Pillow's decoders has errors of its own for a broken file
        raise BadInput(f"expected a whole {kind} image, found a broken one: {error}") from None


def centre_square(picture: Image.Image, side: int) -> np.ndarray:
    """The centre square of a picture, resized: uint8 (side, side), of an RGB picture (side, side, 3)."""
    x, y, edge = (picture.width - min(picture.size)) // 2, (picture.height - min(picture.size)) // 2, min(picture.size)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge)))


def upright(file: Path) -> Image.Image:
    """A picture of any common kind in RGB, turned as its camera has noted, with white behind what is transparent.

    Raises:
        BadInput: it is no such picture; the message names the file.
    """
    if not file.is_file():
        raise BadInput(f"picture {file} {'is a folder' if file.is_dir() else 'does not exist'}")
    try:
        with open_picture(file, *get_args(Kind)) as picture:
            turned = ImageOps.exif_transpose(picture).convert("RGBA")
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    return Image.alpha_composite(Image.new("RGBA", turned.size, "white"), turned).convert("RGB")


def squares(files: Sequence[str], side: int) -> np.ndarray:
    """Pictures' centre squares in colour, uint8 (B, 3, side, side)."""
    return np.stack([centre_square(upright(Path(file)), side).transpose(2, 0, 1) for file in files])


def drawings(files: Sequence[str], side: int, *, light_on_dark: bool) -> np.ndarray:
    """Drawings' centre squares in grey, uint8 (B, side, side). What has the other background than the data, as ink on
    paper where they are light on dark, is inverted."""
    grey = [centre_square(upright(Path(file)).convert("L"), side) for file in files]
    return np.stack([255 - square if (np.median(square) > 127) == light_on_dark else square for square in grey])
