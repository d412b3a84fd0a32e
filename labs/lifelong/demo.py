"""A person's own handwritten digits: `labs predict lifelong PICTURE...`."""

from collections.abc import Sequence

from labs.core.demo import Demo, Row, Trained, class_rows
from labs.core.pictures import drawings
from labs.lifelong.data import CLASSES, SIDE


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    digits = drawings(inputs, SIDE, light_on_dark=True)
    return class_rows(inputs, trained.predict(digits), [str(digit) for digit in range(CLASSES)])


DEMO = Demo("pictures of handwritten digits", rows)
