"""Embedded data of homework 10: drawn pictures in the course's format, and the victims that are trained on others.

With `check` and `prepare` of the format this module is the lab's `data`.
"""

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from labs.attack.data import ATTACKED, CLASSES, PER_CLASS, TRAINING, VICTIMS, channels_first, check, prepare
from labs.attack.drawing import draw_picture
from labs.attack.victims import train_victims

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


def _draw_class(seed: int, part: str, label: int, count: int) -> list[Image.Image]:
    return [draw_picture(random.Random(f"{seed} {part} {label} {number}"), label) for number in range(count)]
