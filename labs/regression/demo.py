"""Rows of a survey table: `labs predict regression TABLE.csv...`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labs.core import shards
from labs.core.demo import Demo, Row, Trained
from labs.regression import data


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    columns, found = shards.manifest(trained.data_dir)["facts"]["columns"], list[Row]()
    for file in inputs:
        table = data.read_table(Path(file), columns)
        predictions = trained.predict(table).tolist()
        ids = table[:, 0].astype(np.int64).tolist()
        found += [{"table": file, "id": number, data.TARGET: round(value, 4)}
                  for number, value in zip(ids, predictions, strict=True)]  # fmt: skip
    return found


DEMO = Demo("tables in the format of the course's covid.test.csv", rows)
