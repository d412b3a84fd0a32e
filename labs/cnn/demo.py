"""Pictures of food: `labs predict cnn PICTURE...`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labs.core import shards
from labs.core.demo import Demo, Row, Trained, class_rows
from labs.core.pictures import centre_square, upright


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    names = shards.manifest(trained.data_dir)["facts"]["classes"]
    return class_rows(inputs, trained.predict(pictures(trained, inputs)), names)


def pictures(trained: Trained, inputs: Sequence[str]) -> np.ndarray:
    """The inputs' centre squares as the data are packed: (B, 3, side, side) uint8."""
    side = shards.manifest(trained.data_dir)["facts"]["side"]
    return np.stack([centre_square(upright(Path(file)), side).transpose(2, 0, 1) for file in inputs])


DEMO = Demo("pictures of food", rows)
