"""Food-11 in the folder format of homework 13: that of homework 3, with the test set in `evaluation/0000.jpg` ...

The course's folder also has its teacher's weights, `resnet18_teacher.ckpt` (`labs.compression.course_teacher`); without
them the teacher is a run of the cnn lab. Generated images are those of `labs.shared.vision.food`, byte for byte. Each
has a random generator of its own, seeded with seed, split and number, so that the splits are disjoint whatever the
seeds and counts: a teacher that was trained on generated images has not seen the student's test images.
"""

from pathlib import Path
from typing import Any

from labs.compression import course_teacher
from labs.shared.vision import food
from labs.shared.vision.food import ANSWERS, CLASSES

__all__ = ["ANSWERS", "CLASSES", "LAYOUT", "check", "make", "prepare"]

LAYOUT = food.Layout("evaluation", 0, course_teacher.RESIZED)


def make(folder: Path, seed: int, size: str) -> None:
    """As `labs.shared.vision.food.make`."""
    food.make(folder, seed, size, LAYOUT)


def check(folder: Path) -> list[str]:
    """As `labs.shared.vision.food.check`; the course's teacher, if it is there, must be whole."""
    return food.check(folder, LAYOUT) or course_teacher.check(folder, food.count_classes(folder, LAYOUT))


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """As `labs.shared.vision.food.prepare`; beside the images the teacher's weights, if they are there."""
    return food.prepare(folder, out, origin, LAYOUT, course_teacher.GIVEN.prepare(folder, out))
