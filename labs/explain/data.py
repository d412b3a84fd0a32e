"""Pictures to explain: the folder of homework 9, its checks, and drawn pictures in the same format.

`food/<class>_<index>.jpg` are the pictures to explain, taken in the order of their index; the course has ten, 0 to 9.
Its `checkpoint.pth`, which may lie beside them, is not read: the classifier is a run of the cnn lab.

Explanations can be scored where it is known which pixels show the food. Drawn data have such pictures beside the
course's: `validation/<class>_<index>.jpg`, and for each of them `validation-masks/<class>_<index>.png`, white on the
food and black elsewhere. The masks of the pictures to explain are in `answers/`. `texts.json` has the texts of the
second half, see `labs.explain.texts`; pictures can be explained without it.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from labs.core import shards
from labs.explain import texts as texts_hw9
from labs.shared.vision import drawing, food

CLASSES = food.CLASSES
EXPLAINED, VALIDATION, MASKS, ANSWERS = "food", "validation", "validation-masks", "answers/masks"
COUNTS = {"tiny": 11, "small": 121, "course": 121}
"""Size -> pictures to explain, and as many to validate on: as many of each class."""
RECORD = 256
"""Pictures of a record batch: what packing holds in memory."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn pictures in the course's format, with masks, and texts.

    Each picture has a random stream of its own, named after seed, lab, part and number: none is a picture of homework 3
    or 13, whatever the seeds and counts, so a classifier that has learnt from theirs has seen none of these.
    """
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for part, masks in ((EXPLAINED, ANSWERS), (VALIDATION, MASKS)):
        (folder / part).mkdir()
        (folder / masks).mkdir(parents=True)
        for number in range(COUNTS[size]):
            rng, label = random.Random(f"{seed} explain {part} {number}"), number % len(CLASSES)
            image, mask = drawing.scene(rng, label, photos)
            image.save(folder / part / f"{label}_{number}.jpg", quality=rng.randint(60, 95))
            mask.save(folder / masks / f"{label}_{number}.png")
    texts_hw9.make(folder, seed)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if its pictures can be explained.

    Decodes every picture, one at a time.
    """
    if not (folder / EXPLAINED).is_dir():
        return [f"{folder / EXPLAINED}/ is missing: expected a folder with the pictures to explain"]
    if (folder / VALIDATION).is_dir() != (folder / MASKS).is_dir():
        there, missing = (VALIDATION, MASKS) if (folder / VALIDATION).is_dir() else (MASKS, VALIDATION)
        return [f"{folder / missing}/ is missing: {there}/ is of use only together with it"]
    parts = [part for part in (EXPLAINED, VALIDATION) if (folder / part).is_dir()]
    faults = [fault for part in parts for fault in _check_names(folder / part)] + texts_hw9.check(folder)
    return faults or [
        f"{path.relative_to(folder)}: {fault}"
        for part in parts
        for path in _files(folder / part)
        if (fault := _check_picture(path, folder / MASKS if part == VALIDATION else None))
    ]


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the pictures, each decoded once: `image`, uint8 (3, side, side), as split `test`; those with masks, where
    there are any, as split `validation` with `mask`, uint8 (side, side), 1 on the food and 0 elsewhere.

    The facts hold `side` in pixels, `names` of the pictures to explain, in the order of their rows, and `texts`, the
    content of their file, None without it.
    """
    side = food.stored_size(origin)
    splits = {"test": _batches(folder / EXPLAINED, side)}
    if (folder / VALIDATION).is_dir():
        splits["validation"] = _batches(folder / VALIDATION, side, folder / MASKS)
    texts = texts_hw9.read(folder).model_dump() if (folder / texts_hw9.FILE).exists() else None
    facts = {"side": side, "names": [path.name for path in _files(folder / EXPLAINED)], "texts": texts}
    return shards.pack(out, splits, origin=origin, facts=facts)


def read_mask(path: Path, side: int) -> np.ndarray:
    """The middle square of a mask, shrunk or enlarged as its picture: uint8 (side, side), 1 on the food, else 0."""
    with Image.open(path, formats=["PNG"]) as image:
        whole = image.convert("L")
    x, y, edge = (whole.width - min(whole.size)) // 2, (whole.height - min(whole.size)) // 2, min(whole.size)
    square = whole.resize((side, side), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge))
    return (np.asarray(square) > 127).astype(np.uint8)


def _files(folder: Path) -> list[Path]:
    """Pictures in the order of their index; what the operating system hides does not count."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return sorted(files, key=lambda path: [int(part) for part in reversed(path.stem.split("_"))])


def _check_names(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not names:
        return [f"{folder.name}/ is empty: expected JPEG pictures"]
    return [
        f"{folder.name}/{name}: the name must be <class>_<index>.jpg, for example 3_5.jpg"
        for name in names
        if not re.fullmatch(r"\d+_\d+\.jpg", name)
    ]


def _check_picture(path: Path, masks: Path | None) -> str | None:
    """What is wrong with a picture or its mask, as the end of a sentence; None if nothing is."""
    try:
        food.square(path, 64)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's, by the place where the file is broken
        reason = "not a JPEG file" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"expected a whole JPEG picture, found a broken one: {reason}"
    if masks is None:
        return None
    mask = masks / f"{path.stem}.png"
    try:
        found = read_mask(mask, 64)
        with Image.open(path) as picture, Image.open(mask) as image:
            expected, size = (f"{part.width}x{part.height}" for part in (picture, image))
    except (OSError, SyntaxError, ValueError) as error:
        reason = "there is none" if isinstance(error, FileNotFoundError) else f"it is no whole PNG picture: {error}"
        return f"expected its mask in {masks.name}/{mask.name}, but {reason}"
    if size != expected:
        return f"its mask {masks.name}/{mask.name} is {size} pixels, expected {expected}"
    if found.min() == found.max():
        return (f"its mask {masks.name}/{mask.name} must be white on the food and black elsewhere, found one colour in "
                "the middle square")  # fmt: skip
    return None


def _batches(folder: Path, side: int, masks: Path | None = None) -> Iterator[shards.Batch]:
    files = _files(folder)
    for first in range(0, len(files), RECORD):
        part = files[first : first + RECORD]
        batch = {"image": np.stack([food.square(path, side) for path in part])}
        if masks is not None:
            batch["mask"] = np.stack([read_mask(masks / f"{path.stem}.png", side) for path in part])
        yield batch
