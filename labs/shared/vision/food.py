"""Food-11: the folder format of homework 3, its checks, and generated images in the same format.

The names of `training/<class>_<n>.jpg` and `validation/<class>_<n>.jpg` give the class; those of the test images,
`test/0001.jpg` and so on, do not. Files are read in string order, as the course's code does.
"""

import csv
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labs.core import shards
from labs.core.errors import BadInput
from labs.core.listing import find, required, visible
from labs.core.pictures import centre_square, open_picture
from labs.shared.vision import drawing

CLASSES = (
    "Bread",
    "Dairy product",
    "Dessert",
    "Egg",
    "Fried food",
    "Meat",
    "Noodles/Pasta",
    "Rice",
    "Seafood",
    "Soup",
    "Vegetable/Fruit",
)
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
"""Split of the packed data -> folder of the course's format."""
OTHER_NAMES = {"train": "train", "validation": "valid"}
"""Split -> the folder's name in the course's edition of 2023."""


@dataclass(frozen=True)
class Layout:
    """What homeworks 3 and 13 name differently in the same data set."""

    test: str
    """Folder of the test images."""
    first: int
    """Number of the first test image."""
    side: int = 160
    """Pixels of a side of packed photographs: what leaves room for crops of the networks' inputs."""

    @property
    def splits(self) -> dict[str, str]:
        """Split of the packed data -> folder."""
        return {**SPLITS, "test": self.test}

    def find(self, folder: Path, split: str) -> Path | None:
        """The folder of a split below the data's folder, None if it is not there."""
        found = find(folder, self.splits[split], OTHER_NAMES.get(split, self.splits[split]))
        return found if found and found.is_dir() else None

    def folders(self, folder: Path) -> dict[str, Path]:
        """Split -> its folder, where all are there."""
        return {split: required(folder, name, OTHER_NAMES.get(split, name)) for split, name in self.splits.items()}


CNN = Layout("test", 1)
ANSWERS, MASKS = "answers/food11.test.csv", "answers/masks"
COUNTS = {
    "tiny": {"train": 110, "validation": 44, "test": 44},
    "small": {"train": 1500, "validation": 500, "test": 500},
    "course": {"train": 9866, "validation": 3430, "test": 3347},
}
"""Size -> number of training, validation and test images."""
CLASS_COUNTS = {
    "train": (994, 429, 1500, 986, 848, 1325, 440, 280, 855, 1500, 709),
    "validation": (362, 144, 500, 327, 326, 449, 147, 96, 347, 500, 232),
    "test": (362, 144, 500, 327, 326, 449, 147, 96, 347, 500, 232),
}
"""Images of each class in the course's data, whose class frequencies generated data keep. Those of the course's test
set are not known; they are taken from its validation set."""
RECORD = 256
"""Images of a record batch, the most that packing holds in memory."""


def make(folder: Path, seed: int, size: str, layout: Layout = CNN) -> None:
    """Write generated images in the course's format; the test set's labels and dish masks go to `answers/`.

    Each image has a random generator of its own, seeded with seed, split and number.
    """
    answers: list[tuple[str, int]] = []
    (folder / MASKS).mkdir(parents=True, exist_ok=True)
    for (split, name), count in zip(layout.splits.items(), COUNTS[size].values(), strict=True):
        (folder / name).mkdir(exist_ok=True)
        seen = [0] * len(CLASSES)
        for number, (label, image, mask, quality) in enumerate(_scenes(seed, split, count)):
            stem = f"{number + layout.first:04d}" if split == "test" else f"{label}_{seen[label]}"
            image.save(folder / name / f"{stem}.jpg", quality=quality)
            seen[label] += 1
            if split == "test":
                mask.save(folder / MASKS / f"{stem}.png")
                answers.append((stem, label))
    with (folder / ANSWERS).open("w", newline="") as file:
        csv.writer(file).writerows([("Id", "Category"), *answers])


def _scenes(seed: int, split: str, count: int) -> Iterator[tuple[int, Image.Image, Image.Image, int]]:
    """The `count` generated images of a split: class, image, mask of the dish, JPEG quality."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    labels = _labels(CLASS_COUNTS[split], count)
    random.Random(f"{seed} {split}").shuffle(labels)
    for number, label in enumerate(labels, 1):
        rng = random.Random(f"{seed} {split} {number}")
        image, mask = drawing.scene(rng, label, photos)
        yield label, image, mask, rng.randint(60, 95)


def check(folder: Path, layout: Layout = CNN) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if the lab can train on it.

    Decodes every image, one at a time.
    """
    faults = [f"{folder / name}/ is missing" for split, name in layout.splits.items() if not layout.find(folder, split)]
    if faults:
        return faults
    folders = layout.folders(folder)
    faults = [fault for split, part in folders.items() for fault in _check_names(part, split, layout)]
    if faults:
        return faults
    faults = _check_classes(folders)
    for part in folders.values():
        for path in visible(part):
            try:
                square(path, 64)
            except BadInput as error:
                faults.append(f"{part.name}/{path.name}: {error}")
    return faults


def prepare(
    folder: Path, out: Path, origin: Any, layout: Layout = CNN, more_facts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Pack the images, each decoded once: `image`, uint8 (3, side, side), and, except in the test set, `label`, int64.

    The manifest's facts are `classes` (names), `side` in pixels and `test_ids`, names in the order of the test rows,
    beside `more_facts`.
    """
    side, folders = stored_size(origin, layout), layout.folders(folder)
    count = count_classes(folder, layout)
    facts = {
        **(more_facts or {}),
        "classes": list(CLASSES) if count == len(CLASSES) else [f"class {label}" for label in range(count)],
        "side": side,
        "test_ids": [path.stem for path in visible(folders["test"])],
    }
    splits = {split: _batches(part, side, labelled=split != "test") for split, part in folders.items()}
    return shards.pack(out, splits, origin=origin, facts=facts)


def stored_size(origin: str, layout: Layout = CNN) -> int:
    """Side in pixels of a packed image; generated ones have 64 to 80 pixels."""
    return 64 if origin == "generated" else layout.side


def count_classes(folder: Path, layout: Layout = CNN) -> int:
    """Number of classes of the training images, whose names have been checked."""
    return 1 + max(_label(path) for path in visible(layout.folders(folder)["train"]))


def _labels(class_counts: tuple[int, ...], count: int) -> list[int]:
    """`count` labels in the proportions of `class_counts`, rounded by the largest-remainder method."""
    exact = np.array(class_counts) * count / sum(class_counts)
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return [label for label, number in enumerate(whole) for _ in range(number)]


def _label(path: Path) -> int:
    return int(path.name.split("_")[0])


def _check_names(folder: Path, split: str, layout: Layout) -> list[str]:
    files = visible(folder)
    if not files:
        return [f"{folder.name}/ is empty: expected JPEG images"]
    if split != "test":
        bad = [path.name for path in files if not re.fullmatch(r"\d+_\d+\.jpg", path.name.lower())]
        return [f"{folder.name}/{name}: the name must be <class>_<number>.jpg, for example 3_17.jpg" for name in bad]
    first = 0 if files[0].name.lower() == "0000.jpg" else layout.first  # in 2023 homework 3 counts from 0, too
    for number, path in enumerate(files, first):
        if path.name.lower() != f"{number:04d}.jpg":
            return [f"{layout.test}/{path.name}: expected {number:04d}.jpg here, as test images count "
                    f"{first:04d}.jpg, {first + 1:04d}.jpg, ..."]  # fmt: skip
    return []


def _check_classes(folders: Mapping[str, Path]) -> list[str]:
    known: set[int] = set()
    training = {_label(path): path.name for path in visible(folders["train"])}
    for number, label in enumerate(sorted(training)):
        if label != number:
            return [f"training/{training[label]}: found class {label}, but no image of class {number}; classes must "
                    f"count 0, 1, 2, ... without a gap (0 to {len(CLASSES) - 1} in the course)"]  # fmt: skip
        known.add(label)
    foreign = [path.name for path in visible(folders["validation"]) if _label(path) not in known]
    return [f"validation/{name}: found class {name.split('_')[0]}, but training has only classes 0 to {len(known) - 1}"
            for name in foreign]  # fmt: skip


def _batches(folder: Path, side: int, *, labelled: bool) -> Iterator[shards.Batch]:
    files = visible(folder)
    for first in range(0, len(files), RECORD):
        paths = files[first : first + RECORD]
        batch = {"image": np.stack([square(path, side) for path in paths])}
        if labelled:
            batch["label"] = np.array([_label(path) for path in paths], np.int64)
        yield batch


def square(path: Path, side: int) -> np.ndarray:
    """The centre square of a JPEG file, resized: uint8 (3, side, side).

    Raises:
        BadInput: it is no whole JPEG file; the message is the end of a sentence.
    """
    with open_picture(path, "JPEG") as image:
        # Pillow decodes a JPEG at a half, a quarter or an eighth of its size, which is faster than decoding all of it.
        image.draft("RGB", (2 * side, 2 * side))
        whole = image.convert("RGB")
    return centre_square(whole, side).transpose(2, 0, 1)
