"""The folder format of homework 11, labelled photographs and unlabelled drawings; its checks; generated data in it.

Photographs are `real_or_drawing/train_data/<class>/<n>.bmp`, RGB, 32 x 32; the course's n counts over all classes, but
any name will do. Drawings are `real_or_drawing/test_data/0/00000.bmp` and so on, grey, 28 x 28; the folder `0` is not a
class. The classes of the drawings are equally frequent.
"""

import csv
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labs.adaptation import rendering
from labs.core import shards
from labs.core.errors import BadInput
from labs.core.listing import find, visible
from labs.core.pictures import open_picture

CLASSES = ("horse", "bed", "clock", "apple", "cat", "plane", "television", "dog", "dolphin", "spider")
ROOT, TRAIN, TEST, ANSWERS = "real_or_drawing", "train_data", "test_data/0", "answers/drawings.csv"
COUNTS = {
    "tiny": {"photographs": 200, "drawings": 200},
    "small": {"photographs": 1200, "drawings": 2400},
    "course": {"photographs": 5000, "drawings": 100_000},
}
"""Size -> number of photographs and of drawings."""
RECORD = 1024
"""Images of a record batch, the most that packing holds in memory."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write generated photographs and line drawings in the course's format; the drawings' labels go to `answers/`.

    Each image has a random generator of its own, seeded with seed, domain and number.
    """
    from sklearn.datasets import load_sample_images

    backgrounds = [Image.fromarray(image) for image in load_sample_images().images]
    photographs, drawings = COUNTS[size].values()
    for number in range(photographs):
        label = number * len(CLASSES) // photographs
        rng = random.Random(f"{seed} photograph {number}")
        path = folder / ROOT / TRAIN / f"{label}/{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        rendering.photograph(rng, label, backgrounds).save(path)
    labels = [number % len(CLASSES) for number in range(drawings)]
    random.Random(f"{seed} drawings").shuffle(labels)
    (folder / ROOT / TEST).mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(labels):
        rng = random.Random(f"{seed} drawing {number}")
        rendering.sketch(rng, label).save(folder / ROOT / TEST / f"{number:05d}.bmp")
    (folder / ANSWERS).parent.mkdir(exist_ok=True)
    with (folder / ANSWERS).open("w", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *enumerate(labels)])


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if the lab can train on it.

    Decodes every image, one at a time.
    """
    root = _root(folder)
    faults = [f"{root / name} is missing" for name in (TRAIN, TEST) if not (root / name).is_dir()]
    faults = faults or [*_check_classes(root), *_check_names(root)]
    if faults:
        return faults
    for path, side in [*((path, rendering.PHOTO) for path in _photographs(root)),
                       *((path, rendering.SKETCH) for path in _files(root / TEST))]:  # fmt: skip
        name = path.relative_to(root)
        try:
            with open_picture(path, "BMP") as image:
                if image.size != (side, side):
                    raise BadInput(f"expected {side} x {side} pixels, found {image.width} x {image.height}")
                image.load()
        except BadInput as error:
            faults.append(f"{name}: {error}")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the images: split `source` has `image`, uint8 (32, 32, 3), and `label`, int64; `target` has `image`, uint8
    (28, 28). The manifest's fact `classes` is the number of classes.
    """
    root = _root(folder)
    classes = len(_files(root / TRAIN))
    splits = {"source": _source(root), "target": _target(root)}
    return shards.pack(out, splits, origin=origin, facts={"classes": classes})


def answers(folder: Path) -> list[str]:
    """The drawings' true labels, in the order of the submission."""
    with (folder / ANSWERS).open(newline="", encoding="utf-8-sig") as file:
        return [row["label"] for row in csv.DictReader(file)]


def _root(folder: Path) -> Path:
    """The folder that holds `train_data` and `test_data`: this one, or its `real_or_drawing`."""
    return find(folder, ROOT) or folder


def _files(folder: Path) -> list[Path]:
    """Content of a folder in numerical order, without hidden files."""
    return sorted(visible(folder), key=lambda path: (len(path.name), path.name))


def _photographs(root: Path) -> Iterator[Path]:
    return (path for classes in _files(root / TRAIN) for path in _files(classes))


def _check_classes(root: Path) -> list[str]:
    for number, path in enumerate(_files(root / TRAIN)):
        if path.name != str(number):
            return [f"{TRAIN}/{path.name}: expected {TRAIN}/{number} here, as classes count 0, 1, 2, ... without a gap "
                    f"(0 to {len(CLASSES) - 1} in the course)"]  # fmt: skip
        if not _files(path):
            return [f"{TRAIN}/{path.name} is empty: expected BMP images"]
    return [] if len(_files(root / TRAIN)) > 1 else [f"{TRAIN}: expected a folder for each of at least 2 classes"]


def _check_names(root: Path) -> list[str]:
    if not _files(root / TEST):
        return [f"{TEST} is empty: expected BMP images"]
    bad = [path.relative_to(root) for path in _photographs(root) if path.suffix.lower() != ".bmp"]
    faults = [f"{name}: expected a BMP image, <any name>.bmp" for name in bad]
    for number, path in enumerate(_files(root / TEST)):
        if path.name.lower() != f"{number:05d}.bmp":
            faults.append(
                f"{TEST}/{path.name}: expected {number:05d}.bmp here, as drawings count 00000.bmp, 00001.bmp, ..."
            )
            break
    return faults


def _source(root: Path) -> Iterator[shards.Batch]:
    for batch in _batches([(path, int(path.parent.name)) for path in _photographs(root)]):
        images = np.stack([np.asarray(_open(path, "RGB")) for path, _ in batch])
        yield {"image": images, "label": np.array([label for _, label in batch], np.int64)}


def _target(root: Path) -> Iterator[shards.Batch]:
    for batch in _batches(_files(root / TEST)):
        yield {"image": np.stack([np.asarray(_open(path, "L")) for path in batch])}


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    return (items[first : first + RECORD] for first in range(0, len(items), RECORD))


def _open(path: Path, mode: str) -> Image.Image:
    with open_picture(path, "BMP") as image:
        return image.convert(mode)
