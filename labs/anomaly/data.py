"""The data of homework 8: two arrays of pictures in the course's format, its checks, and drawn faces in that format.

`data/trainingset.npy` holds normal faces only, `data/testingset.npy` normal faces and anomalies: uint8,
(N, 64, 64, 3).
"""

import csv
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from labs.core import shards
from labs.core.listing import find, required
from labs.shared.vision.avatars import CHANGES, FAR, NEAR, NORMAL, SIDE, avatar

TRAIN, TEST = "data/trainingset.npy", "data/testingset.npy"
ANSWERS = "answers/testingset.csv"
OTHER_FOLDERS = ("data-bin", ".")
"""Where the arrays are in the course's editions of 2021 and 2023, in place of `data`."""
COUNTS = {
    "tiny": {"train": 60, "test": 40},
    "small": {"train": 2000, "test": 1000},
    "course": {"train": 100_000, "test": 19_636},
}
"""Size -> training and test pictures; half of the test pictures are anomalies."""
KINDS = ("near",) * 5 + ("far",) * 3 + CHANGES * 3
"""Kinds of the anomalies in the test set, in turn; their order is shuffled afterwards."""
MIN_PICTURES = {TRAIN: 20, TEST: 2}
"""Smallest number of pictures: a tenth of the training set is held out, and the test set needs two to compare."""
RECORD = 256
"""Pictures of a record batch, all that is in memory while the data are packed."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn faces in the course's format, and to `answers/` which of the test set are anomalies, of which kind.

    Each face has a random stream of its own, named after seed, split and number.
    """
    train, test = COUNTS[size].values()
    kinds = ["normal" if number % 2 else KINDS[number // 2 % len(KINDS)] for number in range(test)]
    random.Random(f"{seed} order").shuffle(kinds)
    for name in (TRAIN, ANSWERS):
        (folder / name).parent.mkdir(exist_ok=True)
    _write(folder / TRAIN, train, (_face(seed, "train", number, "normal") for number in range(train)))
    _write(folder / TEST, test, (_face(seed, "test", number, kind) for number, kind in enumerate(kinds)))
    with (folder / ANSWERS).open("w", newline="") as file:
        rows = ((number, int(kind != "normal"), kind) for number, kind in enumerate(kinds))
        csv.writer(file).writerows([("ID", "anomaly", "kind"), *rows])


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it has none."""
    return [fault for name in (TRAIN, TEST) if (fault := _fault(folder, name))]


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack both arrays: `train` and `test` have `image`, uint8 (64, 64, 3)."""
    return shards.pack(
        out,
        {"train": _batches(required(folder, *_names(TRAIN))), "test": _batches(required(folder, *_names(TEST)))},
        origin=origin,
    )


def answers(folder: Path) -> list[str]:
    """The kind of each test picture, `normal` or an anomaly's, in the order of the submission."""
    with (folder / ANSWERS).open(newline="", encoding="utf-8-sig") as file:
        return [row["kind"] for row in csv.DictReader(file)]


def _face(seed: int, split: str, number: int, kind: str) -> np.ndarray:
    rng = random.Random(f"{seed} {split} {number}")
    styles = {"near": NEAR, "far": FAR}.get(kind, (NORMAL,))
    picture, _ = avatar(rng, rng.choice(styles), kind if kind in CHANGES else "")
    return picture


def _write(path: Path, count: int, faces: Iterator[np.ndarray]) -> None:
    """Write an array face by face, so that only one of them is in memory."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE, 3)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for face in faces:
            file.write(face.tobytes())


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and type of the array that follows in the file."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype


def _names(name: str) -> list[str]:
    return [name, *(f"{other}/{Path(name).name}" for other in OTHER_FOLDERS)]


def _fault(folder: Path, name: str) -> str | None:
    path = find(folder, *_names(name))
    if path is None or not path.is_file():
        return f"{folder / name} is missing"
    with path.open("rb") as file:
        try:
            shape, fortran, dtype = _read_header(file)
        except Exception as error:  # NumPy reads the header as Python literals, whose parser has errors of its own
            return f"{name}: expected an array in NumPy's format, found something else: {error}"
        if dtype != np.uint8:
            return f"{name}: expected values of type uint8, found {dtype}"
        if len(shape) != 4 or shape[1:] != (SIDE, SIDE, 3) or fortran:
            order = " in Fortran order" if fortran else ""
            return f"{name}: expected shape (N, {SIDE}, {SIDE}, 3), channels last, found {shape}{order}"
        if shape[0] < MIN_PICTURES[name]:
            return f"{name}: expected at least {MIN_PICTURES[name]} pictures, found {shape[0]}"
        size = path.stat().st_size - file.tell()
    if size != math.prod(shape):  # of Python, whose integers have no largest one
        return f"{name}: expected {math.prod(shape)} bytes of {shape[0]} pictures, found {size}"
    return None


def _batches(path: Path) -> Iterator[shards.Batch]:
    """Read from the file instead of mapping it: a mapped file counts as this process's memory."""
    with path.open("rb") as file:
        shape, _, _ = _read_header(file)
        for first in range(0, shape[0], RECORD):
            count = min(RECORD, shape[0] - first)
            values = np.fromfile(file, np.uint8, count * SIDE * SIDE * 3)
            yield {"image": values.reshape(count, SIDE, SIDE, 3)}
