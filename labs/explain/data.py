"""Images to explain: the folder format of homework 9, its checks, and generated images in the same format.

`food/<class>_<index>.jpg` are the images to explain, read in the order of their index; the course has ten, 0 to 9. The
classifier is the course's where its `checkpoint.pth` is in the folder (`labs.explain.course_classifier`), else a run of
the cnn lab.

Attribution maps can be scored on images of which the food's pixels are known. Generated data have such images beside
the course's: `validation/<class>_<index>.jpg`, and for each of them the mask `validation-masks/<class>_<index>.png`,
white on the food and black elsewhere. The masks of the images to explain are in `answers/`. `texts.json` has the texts
of the second half (`labs.explain.texts`); images can be explained without it.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from labs.core import shards
from labs.core.errors import BadInput
from labs.core.listing import find, required, visible
from labs.core.pictures import open_picture
from labs.explain import course_classifier, texts
from labs.shared.vision import drawing, food

CLASSES = food.CLASSES
EXPLAINED, VALIDATION, MASKS, ANSWERS = "food", "validation", "validation-masks", "answers/masks"
COUNTS = {"tiny": {"images": 11}, "small": {"images": 121}, "course": {"images": 121}}
"""Size -> number of images to explain, equally many of each class, and of as many for validation."""
RECORD = 256
"""Images of a record batch, the most that packing holds in memory."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write generated images in the course's format, with masks, and texts.

    Each image has a random generator of its own, seeded with seed, lab, part and number, so that none is an image of
    homework 3 or 13, whatever the seeds and counts: the classifier was not trained on any of these.
    """
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for part, masks in ((EXPLAINED, ANSWERS), (VALIDATION, MASKS)):
        (folder / part).mkdir()
        (folder / masks).mkdir(parents=True)
        for number in range(COUNTS[size]["images"]):
            rng, label = random.Random(f"{seed} explain {part} {number}"), number % len(CLASSES)
            image, mask = drawing.scene(rng, label, photos)
            image.save(folder / part / f"{label}_{number}.jpg", quality=rng.randint(60, 95))
            mask.save(folder / masks / f"{label}_{number}.png")
    texts.make(folder, seed)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if its images can be explained.

    Decodes every image, one at a time.
    """
    images = _images(folder)
    if not images.is_dir():
        return [f"{folder / EXPLAINED}/ is missing: expected a folder with the images to explain"]
    if (folder / VALIDATION).is_dir() != (folder / MASKS).is_dir():
        there, missing = (VALIDATION, MASKS) if (folder / VALIDATION).is_dir() else (MASKS, VALIDATION)
        return [f"{folder / missing}/ is missing: {there}/ needs it"]
    parts = [part for part in (images, folder / VALIDATION) if part.is_dir()]
    faults = [fault for part in parts for fault in _check_names(part)] + texts.check(folder)
    faults = faults or [
        f"{part.name}/{path.name}: {fault}"
        for part in parts
        for path in _files(part)
        if (fault := _check_image(path, folder / MASKS if part.name == VALIDATION else None))
    ]
    return faults + course_classifier.check(folder)


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the images, each decoded once: split `test`, the images to explain, has `image`, uint8 (3, side, side);
    split `validation`, if there are masks, has `image` and `mask`, uint8 (side, side), 1 on the food and 0 elsewhere.

    The manifest's facts are `side` in pixels, `names` of the images to explain in the order of the rows, and `texts`,
    the content of `texts.json` or None; where the course's checkpoint is there, its digest as `classifier`.
    """
    side = food.stored_size(origin)
    splits = {"test": _batches(_images(folder), side)}
    if (folder / VALIDATION).is_dir():
        splits["validation"] = _batches(folder / VALIDATION, side, folder / MASKS)
    names = [path.name.lower() for path in _files(_images(folder))]
    content = texts.read(folder).model_dump() if find(folder, texts.FILE) else None
    facts = {"side": side, "names": names, "texts": content, **course_classifier.GIVEN.prepare(folder, out)}
    return shards.pack(out, splits, origin=origin, facts=facts)


def read_mask(path: Path, side: int) -> np.ndarray:
    """The centre square of a mask, resized like its image: uint8 (side, side), 1 on the food, else 0."""
    with open_picture(path, "PNG") as image:
        whole = image.convert("L")
    x, y, edge = (whole.width - min(whole.size)) // 2, (whole.height - min(whole.size)) // 2, min(whole.size)
    square = whole.resize((side, side), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge))
    return (np.asarray(square) > 127).astype(np.uint8)


def _images(folder: Path) -> Path:
    return required(folder, EXPLAINED)


def _files(folder: Path) -> list[Path]:
    """Image files in the order of their index, without hidden files."""
    return sorted(visible(folder), key=lambda path: [int(part) for part in reversed(path.stem.split("_"))])


def _check_names(folder: Path) -> list[str]:
    names = [path.name for path in visible(folder)]
    if not names:
        return [f"{folder.name}/ is empty: expected JPEG images"]
    return [
        f"{folder.name}/{name}: the name must be <class>_<index>.jpg, for example 3_5.jpg"
        for name in names
        if not re.fullmatch(r"\d+_\d+\.jpg", name.lower())
    ]


def _check_image(path: Path, masks: Path | None) -> str | None:
    """The fault of an image or its mask, as the end of a sentence; None if there is none."""
    try:
        food.square(path, 64)
        with open_picture(path, "JPEG") as image:
            size = image.size
    except BadInput as error:
        return str(error)
    return None if masks is None else _check_mask(masks / f"{path.stem}.png", size)


def _check_mask(mask: Path, size: tuple[int, int]) -> str | None:
    """The fault of an image's mask, as the end of a sentence about the image; None if there is none."""
    name = f"{mask.parent.name}/{mask.name}"
    if not mask.exists():
        return f"expected its mask in {name}, but there is none"
    try:
        with open_picture(mask, "PNG") as image:
            if image.size != size:
                found, expected = (f"{width}x{height}" for width, height in (image.size, size))
                return f"its mask {name} is {found} pixels, expected {expected}"
        content = read_mask(mask, 64)
    except BadInput as error:
        return f"its mask {name}: {error}"
    if content.min() == content.max():
        return (f"its mask {name} must be white on the food and black elsewhere, found one colour in the centre "
                "square")  # fmt: skip
    return None


def _batches(folder: Path, side: int, masks: Path | None = None) -> Iterator[shards.Batch]:
    files = _files(folder)
    for first in range(0, len(files), RECORD):
        paths = files[first : first + RECORD]
        batch = {"image": np.stack([food.square(path, side) for path in paths])}
        if masks is not None:
            batch["mask"] = np.stack([read_mask(masks / f"{path.stem}.png", side) for path in paths])
        yield batch
