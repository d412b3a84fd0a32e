"""Pictures of food: `labs predict cnn PICTURE...`."""

from collections.abc import Sequence

import numpy as np

from labs.core import shards
from labs.core.demo import Demo, Row, Trained, class_rows
from labs.core.pictures import squares


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    names = shards.manifest(trained.data_dir)["facts"]["classes"]
    return class_rows(inputs, trained.predict(pictures(trained, inputs)), names)


def pictures(trained: Trained, inputs: Sequence[str]) -> np.ndarray:
    """The inputs' centre squares as the data are packed: (B, 3, side, side) uint8."""
    side = shards.manifest(trained.data_dir)["facts"]["side"]
    return squares(inputs, side)


DEMO = Demo("pictures of food", rows)
