"""Faces of homework 6: a folder of pictures to learn from, an archive of generated ones, their checks, and drawn faces.

`faces/0.jpg`, `faces/1.jpg`, ... are RGB; the course's are 71,314 pictures of 96 x 96. Beside them may lie `other/`,
pictures of the same format in another style, to translate from. A submission is a gzipped tar with exactly `1.jpg` to
`1000.jpg`, 64 x 64, at its root.
"""

import csv
import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from labs.core import shards
from labs.core.archives import read_archive
from labs.core.errors import BadInput
from labs.gan import judge
from labs.shared.vision.avatars import avatar

SIDE = 64
"""Pixels of a side, as packed and as submitted."""
FACES, OTHERS, JUDGE, FACTORS = "faces", "other", "answers/judge.safetensors", "answers/factors.csv"
OTHER_STYLE = "lorelei"
COUNTS = {"tiny": (120, 60, 60), "small": (1600, 600, 400), "course": (71_314, 2000, 10_000)}
"""Size -> pictures to learn from, those that the judge compares with, and those in the other style."""
JUDGE_EPOCHS = {"tiny": 2, "small": 8, "course": 8}
FEWEST = 50
"""Pictures to learn from; a tenth of them validates."""
SUBMITTED = 1000
"""Pictures of a submission."""
MAX_BYTES = 2_000_000
"""Archives of the course's judge are smaller."""
UNPACKED = 10 * MAX_BYTES
"""Largest archive that is read, unpacked."""
QUALITY, LESS = 95, 5
"""Pillow's JPEG quality of submitted pictures, and what it falls by until the archive is small enough."""
RECORD = 512
"""Pictures of a record batch: what packing holds in memory."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn faces in the course's format; to `answers/` what they were drawn with, and a judge that learnt it.

    Each face has a random stream of its own, named after seed, part and number.
    """
    count, compared, elsewise = COUNTS[size]
    for name in (FACES, OTHERS, Path(JUDGE).parent):
        (folder / name).mkdir()
    learnt = min(count, 5000)  # the judge needs no more
    images, targets = np.empty((learnt, SIDE, SIDE, 3), np.uint8), []
    with (folder / FACTORS).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "hair", *judge.NUMBERS))
        for number in range(count):
            picture, factors = avatar(random.Random(f"{seed} train {number}"))
            _save(picture, folder / FACES, number)
            target = judge.target(factors)
            table.writerow((number, factors["parts"]["hair"], *(f"{value:.4f}" for value in target[1])))
            if number < learnt:
                images[number] = picture
                targets.append(target)
    for number in range(elsewise):
        _save(avatar(random.Random(f"{seed} other {number}"), OTHER_STYLE)[0], folder / OTHERS, number)
    unseen = np.stack([avatar(random.Random(f"{seed} judge {number}"))[0] for number in range(compared)])
    judge.train(images, targets, unseen, seed, JUDGE_EPOCHS[size], folder / JUDGE)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be learnt from. Decodes every one."""
    if not (folder / FACES).is_dir():
        return [
            f"{folder / FACES}/ is missing: expected the pictures to learn from as {FACES}/0.jpg, {FACES}/1.jpg, ..."
        ]
    return [fault for part in _parts(folder) for fault in _faults(part)]


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the pictures, shrunk to the submission's size: `train`, and `other` if there are any in another style, have
    `image`, uint8 (3, 64, 64)."""
    names = {FACES: "train", OTHERS: OTHERS}
    return shards.pack(out, {names[part.name]: _batches(_listed(part)) for part in _parts(folder)}, origin=origin)


def write_archive(file: Path, images: np.ndarray) -> int:
    """Write pictures, (N, 3, 64, 64) uint8, as `1.jpg`, `2.jpg`, ...; the same pictures give the same bytes.

    Returns:
        The JPEG quality: the highest that keeps the archive below the course's limit.
    """
    for quality in range(QUALITY, 0, -LESS):
        content = _packed(images, quality)
        if len(content) < MAX_BYTES:
            file.write_bytes(content)
            return quality
    raise BadInput(f"{file.name}: {len(images)} pictures don't fit into {MAX_BYTES} bytes at any quality")


def submitted(file: Path) -> np.ndarray:
    """The pictures of a submission in the order of their numbers, (N, 3, 64, 64) uint8."""
    files = read_archive(file, UNPACKED)
    return np.stack([_channels(files[name]) for name in sorted(files, key=lambda name: int(name[:-4]))])


def check_archive(file: Path) -> list[str]:
    """One sentence per fault of a submission to the course's judge; empty if it would take it."""
    if file.stat().st_size >= MAX_BYTES:
        return [f"{file.name}: {file.stat().st_size} bytes, expected less than {MAX_BYTES}"]
    try:
        files = read_archive(file, UNPACKED)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        return [f"{file.name} is no whole gzipped tar file: {error}"]
    expected = [f"{number}.jpg" for number in range(1, SUBMITTED + 1)]
    faults = [f"{file.name}: {name} is missing" for name in expected if name not in files]
    faults += [f"{file.name}: {name} is not expected: pictures are 1.jpg to {SUBMITTED}.jpg, in no folder"
               for name in files if name not in {*expected}]  # fmt: skip
    found = ((name, _picture_fault(files[name])) for name in expected if name in files)
    return faults + [f"{file.name}: {name}: {fault}" for name, fault in found if fault]


def _packed(images: np.ndarray, quality: int) -> bytes:
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


def _save(picture: np.ndarray, folder: Path, number: int) -> None:
    Image.fromarray(picture).save(folder / f"{number}.jpg", quality=QUALITY)


def _parts(folder: Path) -> list[Path]:
    return [folder / name for name in (FACES, OTHERS) if (folder / name).is_dir()]


def _faults(part: Path) -> list[str]:
    names = {path.name for path in part.iterdir() if not path.name.startswith(".")}
    if len(names) < FEWEST:
        return [f"{part.name}/: expected at least {FEWEST} pictures, found {len(names)}"]
    expected = {f"{number}.jpg" for number in range(len(names))}
    if strange := sorted(names - expected):
        missing = min(expected - names, key=lambda name: int(name[:-4]))
        return [f"{part.name}/{strange[0]}: expected {missing} instead, as pictures count 0.jpg, 1.jpg, ... without "
                "gaps"]  # fmt: skip
    found = ((path.name, _read_fault(path.read_bytes())) for path in _listed(part))
    return [f"{part.name}/{name}: {fault}" for name, fault in found if fault]


def _listed(part: Path) -> list[Path]:
    """Pictures by number; what the operating system hides does not count."""
    paths = [path for path in part.iterdir() if not path.name.startswith(".")]
    return sorted(paths, key=lambda path: int(path.stem))


def _channels(content: bytes) -> np.ndarray:
    """A JPEG file -> (3, 64, 64) uint8, shrunk if it is larger."""
    with Image.open(io.BytesIO(content)) as image:
        resized = image if image.size == (SIDE, SIDE) else image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(resized).transpose(2, 0, 1)


def _batches(paths: Sequence[Path]) -> Iterator[shards.Batch]:
    for first in range(0, len(paths), RECORD):
        yield {"image": np.stack([_channels(path.read_bytes()) for path in paths[first : first + RECORD]])}


def _opened(content: bytes) -> Image.Image | str:
    """A JPEG picture, or what is wrong with the file, as the end of a sentence."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # all Pillow's
        reason = "not a JPEG file" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"expected a whole JPEG picture, found a broken one: {reason}"


def _read_fault(content: bytes) -> str | None:
    image = _opened(content)
    if isinstance(image, str):
        return image
    if image.mode != "RGB" or image.width != image.height or image.width < SIDE:
        return (f"expected a square of at least {SIDE}x{SIDE} pixels in RGB, found {image.width}x{image.height} in "
                f"{image.mode}")  # fmt: skip
    return None


def _picture_fault(content: bytes) -> str | None:
    image = _opened(content)
    if isinstance(image, str):
        return image
    if image.mode != "RGB" or image.size != (SIDE, SIDE):
        return f"expected {SIDE}x{SIDE} pixels in RGB, found {image.width}x{image.height} in {image.mode}"
    return None
