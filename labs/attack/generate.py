"""Embedded data of homework 10: drawn pictures in the course's format, and the victims that are trained on others.

With `check` and `prepare` of the format this module is the lab's `data`. A folder that has only the pictures to attack,
as the course's, is completed with drawn pictures to train surrogates on.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from labs.attack import data
from labs.attack.data import ATTACKED, CLASSES, PER_CLASS, TRAINING, VICTIMS, channels_first, check
from labs.attack.drawing import draw_picture
from labs.attack.victims import train_victims
from labs.core import shards

__all__ = ["check", "make", "prepare"]

TRAIN_PER_CLASS = {"tiny": 20, "small": 160, "course": 160}
"""Size -> drawn pictures of a class to train surrogates on; the victims have as many others."""
VICTIM_EPOCHS = {"tiny": 1, "small": 5, "course": 5}


def make(folder: Path, seed: int, size: str) -> None:
    """Write drawn pictures in the course's format, and to `answers/` the weights of victims, whose own training
    pictures are not written.

    Each picture has a random stream of its own, named after seed, part, class and number.
    """
    for part, count in ((ATTACKED, PER_CLASS), (TRAINING, TRAIN_PER_CLASS[size])):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for number, picture in enumerate(_draw_class(seed, part, label, count), 1):
                picture.save(folder / part / name / f"{name}{number}.png")
    count = TRAIN_PER_CLASS[size]
    drawn = [picture for label in range(len(CLASSES)) for picture in _draw_class(seed, "victims", label, count)]
    images = torch.from_numpy(np.stack([channels_first(picture) for picture in drawn]))
    labels = torch.arange(len(CLASSES)).repeat_interleave(count)
    (folder / VICTIMS).parent.mkdir()
    train_victims(images, labels, seed, VICTIM_EPOCHS[size], folder / VICTIMS)


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """As `labs.attack.data.prepare`; drawn pictures are as many as those that `make` writes to train on."""
    return data.prepare(folder, out, origin, _drawn)


def _drawn() -> Iterator[shards.Batch]:
    """Drawn pictures to train on, a batch of each class."""
    for label in range(len(CLASSES)):
        pictures = _draw_class(0, TRAINING, label, TRAIN_PER_CLASS["small"])
        images = np.stack([channels_first(picture) for picture in pictures])
        yield {"image": images, "label": np.full(len(images), label, np.int64)}


def _draw_class(seed: int, part: str, label: int, count: int) -> list[Image.Image]:
    return [draw_picture(random.Random(f"{seed} {part} {label} {number}"), label) for number in range(count)]
