"""The format of homework 6: a folder of faces, an archive of generated ones, and what is checked about both.

`faces/0.jpg`, `faces/1.jpg`, ... are RGB, under any names; the course's are 71,314 pictures of 96 x 96. Beside them
there may be `other/`, pictures in another style in the same format, for the preset `cycle`. A submission is a gzipped
tar archive with exactly `1.jpg` to `1000.jpg`, 64 x 64, at its root.
"""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labs.core import shards
from labs.core.archives import read_archive
from labs.core.errors import BadInput
from labs.core.listing import find, visible
from labs.core.pictures import open_picture

SIDE = 64
"""Pixels of a side, as packed and as submitted."""
FACES, OTHER_STYLE = "faces", "other"
"""Folders of the pictures to learn from, and of those in another style, which are a split of the same name."""
JUDGE, FACTORS = "answers/judge.safetensors", "answers/factors.csv"
"""The judge's weights, and the factors that each embedded face was drawn from."""
MIN_PICTURES = 50
"""Smallest number of pictures in a folder; a tenth of them is held out."""
SUBMITTED = 1000
"""Pictures of a submission."""
MAX_BYTES = 2_000_000
"""A submission has to be smaller than this."""
MAX_UNPACKED = 10 * MAX_BYTES
"""Largest archive that is read, in bytes after unpacking."""
QUALITY, QUALITY_STEP = 95, 5
"""Pillow's JPEG quality of submitted pictures, and the step by which it falls until the archive is small enough."""
RECORD = 512
"""Pictures of a record batch, all that is in memory while the data are packed."""


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it has none. Decodes every picture."""
    if not _picture_folders(folder).get(FACES):
        return [
            f"{folder / FACES}/ is missing: expected the pictures to learn from as {FACES}/0.jpg, {FACES}/1.jpg, ..."
        ]
    return [fault for part in _picture_folders(folder).values() for fault in _folder_faults(part)]


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the pictures, shrunk to the submission's size: the split `train`, and `other` if there are pictures in
    another style, have `image`, uint8 (3, 64, 64)."""
    splits = {FACES: "train", OTHER_STYLE: OTHER_STYLE}
    batches = {splits[name]: _batches(_pictures(part)) for name, part in _picture_folders(folder).items()}
    return shards.pack(out, batches, origin=origin)


def write_picture(picture: np.ndarray, folder: Path, number: int) -> None:
    """Write a picture (H, W, 3) uint8 as `<number>.jpg`."""
    Image.fromarray(picture).save(folder / f"{number}.jpg", quality=QUALITY)


def write_archive(file: Path, images: np.ndarray) -> int:
    """Write pictures (N, 3, 64, 64) uint8 as `1.jpg`, `2.jpg`, ...; the same pictures give the same bytes.

    Returns:
        The JPEG quality: the highest that keeps the archive below the course's limit.

    Raises:
        BadInput: the archive is too large at every quality.
    """
    for quality in range(QUALITY, 0, -QUALITY_STEP):
        content = _archive_content(images, quality)
        if len(content) < MAX_BYTES:
            file.write_bytes(content)
            return quality
    raise BadInput(f"{file.name}: {len(images)} pictures don't fit into {MAX_BYTES} bytes at any quality")


def read_submission(file: Path) -> np.ndarray:
    """The pictures of a submission in the order of their numbers, (N, 3, 64, 64) uint8."""
    files = read_archive(file, MAX_UNPACKED)
    return np.stack([_decode(files[name]) for name in sorted(files, key=lambda name: int(name[:-4]))])


def check_archive(file: Path) -> list[str]:
    """One sentence per fault of a submission; empty if the course's judge would accept it."""
    if file.stat().st_size >= MAX_BYTES:
        return [f"{file.name}: {file.stat().st_size} bytes, expected less than {MAX_BYTES}"]
    try:
        files = read_archive(file, MAX_UNPACKED)
    except BadInput as error:
        return [str(error)]
    expected = [f"{number}.jpg" for number in range(1, SUBMITTED + 1)]
    faults = [f"{file.name}: {name} is missing" for name in expected if name not in files]
    faults += [f"{file.name}: {name} is not expected: pictures are 1.jpg to {SUBMITTED}.jpg, in no folder"
               for name in files if name not in {*expected}]  # fmt: skip
    pictures = ((name, _submitted_fault(files[name])) for name in expected if name in files)
    return faults + [f"{file.name}: {name}: {fault}" for name, fault in pictures if fault]


def _archive_content(images: np.ndarray, quality: int) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for number, image in enumerate(images, 1):
            jpeg = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(jpeg, "JPEG", quality=quality)
            entry = tarfile.TarInfo(f"{number}.jpg")
            entry.size = jpeg.tell()
            jpeg.seek(0)
            tar.addfile(entry, jpeg)
    return gzip.compress(content.getvalue(), mtime=0)


def _picture_folders(folder: Path) -> dict[str, Path]:
    """The folders of pictures that are there."""
    found = {name: find(folder, name) for name in (FACES, OTHER_STYLE)}
    return {name: part for name, part in found.items() if part and part.is_dir()}


def _folder_faults(part: Path) -> list[str]:
    pictures = _pictures(part)
    if len(pictures) < MIN_PICTURES:
        return [f"{part.name}/: expected at least {MIN_PICTURES} pictures, found {len(pictures)}"]
    faults = ((path.name, _source_fault(path)) for path in pictures)
    return [f"{part.name}/{name}: {fault}" for name, fault in faults if fault]


def _pictures(part: Path) -> list[Path]:
    """The pictures of a folder, `2.jpg` before `10.jpg`; hidden files are left out."""
    return sorted(visible(part), key=lambda path: (len(path.name), path.name.lower()))


def _batches(paths: Sequence[Path]) -> Iterator[shards.Batch]:
    for first in range(0, len(paths), RECORD):
        yield {"image": np.stack([_decode(path.read_bytes()) for path in paths[first : first + RECORD]])}


def _decode(content: bytes) -> np.ndarray:
    """A JPEG file -> (3, 64, 64) uint8, shrunk if it is larger."""
    with Image.open(io.BytesIO(content)) as image:
        resized = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(resized).transpose(2, 0, 1)


def _source_fault(path: Path) -> str | None:
    """What is wrong with a picture to learn from, as the end of a sentence; None if nothing is."""
    square = f"a square of at least {SIDE}x{SIDE} pixels"
    return _fault(path, square, lambda width, height: width == height >= SIDE)


def _submitted_fault(content: bytes) -> str | None:
    """What is wrong with a submitted picture, as the end of a sentence; None if nothing is."""
    return _fault(content, f"{SIDE}x{SIDE} pixels", lambda width, height: width == height == SIDE)


def _fault(picture: Path | bytes, expected: str, fits: Callable[[int, int], bool]) -> str | None:
    try:
        with open_picture(picture, "JPEG") as image:
            if image.mode != "RGB" or not fits(*image.size):
                return f"expected {expected} in RGB, found {image.width}x{image.height} in {image.mode}"
            image.load()
    except BadInput as error:
        return str(error)
    return None
