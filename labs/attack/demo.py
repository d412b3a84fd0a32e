"""What the attacked networks' stand-ins see in a picture: `labs predict attack PICTURE...`."""

from collections.abc import Sequence

from labs.attack import data
from labs.core.demo import Demo, Row, Trained, class_rows
from labs.core.pictures import squares


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    return class_rows(inputs, trained.predict(squares(inputs, data.SIDE)), data.CLASSES)


DEMO = Demo("pictures, attacked or not", rows)
