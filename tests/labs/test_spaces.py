"""A sweep's objective sees each field of the search space: one that it can't see would be chosen by chance."""

from pathlib import Path
from typing import Any

import pytest

import labs
from labs.core import events
from labs.core.errors import BadInput
from tests.faults.seeds import FAULT_SEEDS
from tests.labs.store import Store

FIELDS = [
    (lab, field)
    for lab in labs.names()
    for field in (labs.get(lab).space() if lab != "rl" else ())
    if not field.startswith("epochs") and field != "patience"
]
"""Without rl's, whose trainings each need actors of RLlib, and without the numbers of epochs, which take long."""


def extremes(entry: dict[str, Any]) -> tuple[Any, Any]:
    """The first and the last value of a field."""
    if entry["type"] == "choice":
        return entry["values"][0], entry["values"][-1]
    return entry["low"], entry["high"] - (entry["type"] == "randint")


def logged(lab: str, config: Any, store: Store, folder: Path) -> list[dict[str, float]]:
    """What a training logs, epoch by epoch, without times."""
    labs.get(lab).train(config, store.runs(lab)(folder))
    return [
        {name: value for name, value in event["metrics"].items() if not name.startswith(("time/", "perf/"))}
        for event in events.read(folder)
    ]


@pytest.mark.slow
@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="trains 300 times: make faults")
@pytest.mark.parametrize(("lab", "field"), FIELDS)
def test_the_objective_changes_with_each_field_of_the_space(lab: str, field: str, store: Store, tmp_path: Path) -> None:
    """In some preset: meta's sweep chose the steps of the test, and the transformer's a beam that it never used."""
    record = labs.get(lab)
    entry = record.space()[field]
    for preset in reversed(record.heading.presets):
        try:
            configs = [
                record.resolve(preset, "tiny", {**entry.get("when", {}), field: value}) for value in extremes(entry)
            ]
        except BadInput:  # what this preset can't be combined with
            continue
        first, last = (logged(lab, config, store, tmp_path / f"{preset}{i}") for i, config in enumerate(configs))
        if first != last:
            return
    pytest.fail(f"{lab}: no preset logs anything else with another {field}")
