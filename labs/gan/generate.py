"""Embedded data of homework 6: drawn faces in the course's format, and the judge that is trained on them.

With `check` and `prepare` of the format this module is the lab's `data`.
"""

import csv
import random
from pathlib import Path

import numpy as np

from labs.gan.data import FACES, FACTORS, JUDGE, OTHER_STYLE, SIDE, check, prepare, write_picture
from labs.gan.judge import FACTOR_NAMES, Target, extractor_target, train_judge
from labs.shared.vision.avatars import avatar

__all__ = ["check", "make", "prepare"]

STYLE_OF_OTHERS = "lorelei"
"""The style of `labs.shared.vision.avatars` that the pictures in `other/` are drawn in."""
COUNTS = {
    "tiny": {"faces": 120, "reference": 60, "other style": 60},
    "small": {"faces": 1600, "reference": 600, "other style": 400},
    "course": {"faces": 71_314, "reference": 2000, "other style": 10_000},
}
"""Size -> faces to learn from, reference faces of the judge, pictures in the other style."""
JUDGE_EPOCHS = {"tiny": 2, "small": 8, "course": 8}
MAX_JUDGE_FACES = 5000
"""Faces that the judge is trained on at most."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn faces in the course's format, and to `answers/` the factors that they were drawn from and a judge.

    Each face has a random stream of its own, named after seed, part and number.
    """
    count, reference_count, other_count = COUNTS[size].values()
    for name in (FACES, OTHER_STYLE, Path(JUDGE).parent):
        (folder / name).mkdir()
    images, targets = _make_faces(folder, seed, count)
    for number in range(other_count):
        picture, _ = avatar(random.Random(f"{seed} other {number}"), STYLE_OF_OTHERS)
        write_picture(picture, folder / OTHER_STYLE, number)
    reference = np.stack([avatar(random.Random(f"{seed} judge {number}"))[0] for number in range(reference_count)])
    train_judge(images, targets, reference, seed, JUDGE_EPOCHS[size], folder / JUDGE)


def _make_faces(folder: Path, seed: int, count: int) -> tuple[np.ndarray, list[Target]]:
    """Write the faces to learn from and their factors; returns the first ones and their targets for the judge."""
    judged = min(count, MAX_JUDGE_FACES)
    images, targets = np.empty((judged, SIDE, SIDE, 3), np.uint8), []
    with (folder / FACTORS).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "hair", *FACTOR_NAMES))
        for number in range(count):
            picture, factors = avatar(random.Random(f"{seed} train {number}"))
            write_picture(picture, folder / FACES, number)
            target = extractor_target(factors)
            table.writerow((number, factors["parts"]["hair"], *(f"{value:.4f}" for value in target[1])))
            if number < judged:
                images[number] = picture
                targets.append(target)
    return images, targets
