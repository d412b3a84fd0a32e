"""What the attacked networks' stand-ins see in a picture: `labs predict attack PICTURE...`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labs.attack import data
from labs.core.demo import Demo, Row, Trained, class_rows
from labs.core.pictures import centre_square, upright


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    pictures = np.stack([centre_square(upright(Path(file)), data.SIDE).transpose(2, 0, 1) for file in inputs])
    return class_rows(inputs, trained.predict(pictures), data.CLASSES)


DEMO = Demo("pictures, attacked or not", rows)
