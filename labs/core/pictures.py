"""Opens a picture of a user: only as the format that it must have, and not before its size is known."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from labs.core.errors import BadInput

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded, 200 MB in memory: a file of a few kilobytes can state any size."""


@contextmanager
def open_picture(source: Path | bytes, kind: Literal["BMP", "JPEG", "PNG"]) -> Iterator[Image.Image]:
    """The picture of a file, or of a file's content, before it is decoded: its size and mode are known.

    What is done with the picture inside the `with` block, such as decoding it, may raise Pillow's errors.

    Raises:
        BadInput: it is no picture of this kind, is broken or has more than `MAX_PIXELS`; the message is the end of a
            sentence.
    """
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=[kind]) as picture:
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
