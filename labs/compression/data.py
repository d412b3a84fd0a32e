"""Food-11 pictures as homework 13 names them: the pictures of homework 3, with the test set in `evaluation/`, from
`0000.jpg` on.

The course's folder also has `resnet18_teacher.ckpt`, which is not read: the teacher is a run of the cnn lab. Drawn
pictures are those of `vision.food` byte for byte: each has a random stream of its own, named after seed, split and
number, so no picture of one split, whatever the seeds and counts, is a picture of another. A teacher that has learnt
from drawn pictures has not seen the student's test pictures.
"""

from pathlib import Path
from typing import Any

from labs.shared.vision import food
from labs.shared.vision.food import ANSWERS, CLASSES

__all__ = ["ANSWERS", "CLASSES", "LAYOUT", "check", "make", "prepare"]

LAYOUT = food.Layout("evaluation", 0)


def make(folder: Path, seed: int, size: str) -> None:
    """As `labs.shared.vision.food.make`."""
    food.make(folder, seed, size, LAYOUT)


def check(folder: Path) -> list[str]:
    """As `labs.shared.vision.food.check`."""
    return food.check(folder, LAYOUT)


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """As `labs.shared.vision.food.prepare`."""
    return food.prepare(folder, out, origin, LAYOUT)
