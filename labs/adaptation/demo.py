"""A person's own line drawings: `labs predict adaptation PICTURE...`."""

from collections.abc import Sequence

from labs.adaptation import data, rendering
from labs.core import shards
from labs.core.demo import Demo, Row, Trained, class_names, class_rows
from labs.core.pictures import drawings


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    names = class_names(data.CLASSES, shards.manifest(trained.data_dir)["facts"]["classes"])
    sketches = drawings(inputs, rendering.SKETCH, light_on_dark=True)
    return class_rows(inputs, trained.predict(sketches), names)


DEMO = Demo("pictures of line drawings", rows)
