"""Characters that the network has never seen: `labs predict meta`, five drawings that name them, five to recognise."""

from collections.abc import Sequence

from labs.core.demo import Demo, Row, Trained, class_rows
from labs.core.errors import BadInput
from labs.core.pictures import drawings
from labs.meta.data import SIDE, WAYS


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    if len(inputs) != 2 * WAYS:
        raise BadInput(f"{len(inputs)} pictures: expected {2 * WAYS}, {WAYS} of different characters and then, in any "
                       "order, another one of each")  # fmt: skip
    (probabilities,) = trained.predict(drawings(inputs, SIDE, light_on_dark=False)[None])
    support, query = inputs[:WAYS], inputs[WAYS:]
    return [{**row, "prediction": f"as {row['prediction']}"} for row in class_rows(query, probabilities, support)]


DEMO = Demo(f"{WAYS} pictures of characters, and {WAYS} more to recognise", rows)
