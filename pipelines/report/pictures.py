"""The pictures that labs deliver, inside the page: as they are, or smaller where they are too large together."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

ALL_BYTES = 6_500_000
"""Bytes of all pictures of a page; as text, they take a third more, and the page is to stay below 10 MB."""
WIDTHS = (1400, 1000, 700, 450, 250)
"""Widths in pixels that are tried, one after the other, where the pictures are too large."""
QUALITY = 80
"""WebP's, of pictures that are made smaller."""
TYPES = {b"\x89PNG": "image/png", b"RIFF": "image/webp"}
"""How a file begins -> its type."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page."""

    title: str
    source: str
    """A `data:` URI."""
    width: int
    height: int


class Album:
    """The pictures of a page.

    Args:
        files: PNG files; one that can't be read is left out.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        encoded = {file: file.read_bytes() for file in dict.fromkeys(files) if _is_picture(file)}
        self.is_smaller = sum(map(len, encoded.values())) > ALL_BYTES
        """Whether the pictures were made smaller."""
        widths = iter(WIDTHS if self.is_smaller else ())
        while sum(map(len, encoded.values())) > ALL_BYTES and (width := next(widths, None)):
            encoded = {file: min(data, _smaller(file, width), key=len) for file, data in encoded.items()}
        self._encoded = encoded

    def __contains__(self, file: Path) -> bool:
        return file in self._encoded

    def picture(self, file: Path) -> Picture:
        """The picture of a file that the album has."""
        data = self._encoded[file]
        source = f"data:{TYPES[data[:4]]};base64,{base64.b64encode(data).decode()}"
        with Image.open(io.BytesIO(data)) as image:
            return Picture(file.stem.replace("-", " ").replace("_", " "), source, *image.size)


def _is_picture(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.format == "PNG"
    except (OSError, UnidentifiedImageError):
        return False


def _smaller(file: Path, width: int) -> bytes:
    with Image.open(file) as image:
        picture = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    if picture.width > width:
        picture = picture.resize((width, max(1, round(picture.height * width / picture.width))))
    written = io.BytesIO()
    picture.save(written, "WEBP", quality=QUALITY, method=2)
    return written.getvalue()
