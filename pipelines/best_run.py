"""The best run of a lab in a home folder: what `labs predict` takes, and what MLflow has as the lab's best model.

Runs on different data are not compared with each other: those count that were trained on the largest data, of several
such data sets on that of the newest run. Among them the best validation metric wins, of whatever preset and size.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import labs
from labs.core.errors import BadInput
from labs.core.heading import Metric
from pipelines.home import has_record, read_record, records, result
from pipelines.record_fields import BEST


class BestRun(NamedTuple):
    """A finished run with a model."""

    folder: Path
    record: dict[str, Any]
    value: float
    """Validation metric of its weights."""


def best_run(home: Path, lab: str) -> BestRun | None:
    """The best finished run of a lab; None if there is none."""
    return best_runs(home).get(lab)


def best_runs(home: Path) -> dict[str, BestRun]:
    """Lab -> its best finished run: of pipelines' runs, and of sweeps' best trials."""
    by_lab: dict[str, list[BestRun]] = {}
    for run in _finished(home):
        by_lab.setdefault(run.record["lab"], []).append(run)
    return {lab: _best(runs, labs.heading(lab).metric) for lab, runs in by_lab.items()}


def best_trials(home: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and record of the best trial of each finished sweep."""
    for sweep, record in records(home, "sweeps"):
        number = record.get("end_tags", {}).get(BEST)
        if record["status"] == "FINISHED" and has_record(folder := sweep / "trials" / str(number)):
            with suppress(BadInput):  # damaged: `labs sync` names it
                yield folder, read_record(folder)


def _best(runs: list[BestRun], metric: Metric) -> BestRun:
    """The best of a lab's runs."""
    digest = max(runs, key=lambda run: (rows(run), run.record["created"])).record["data"]["digest"]
    comparable = [run for run in runs if run.record["data"]["digest"] == digest]
    return (min if metric.goal == "min" else max)(comparable, key=lambda run: run.value)


def rows(run: BestRun) -> int:
    """Size of a run's data: rows of all splits; 0 of a lab whose data come from an environment."""
    return sum(run.record["data"]["splits"].values())


def _finished(home: Path) -> Iterator[BestRun]:
    """The finished runs that have a model and a validation metric."""
    for folder, record in [*records(home, "runs"), *best_trials(home)]:
        if record["lab"] not in labs.COURSE or record["status"] != "FINISHED" or not record.get("serve", True):
            continue
        value = labs.heading(record["lab"]).metric.validated(result(folder).get("metrics", {}))
        if value is not None:
            yield BestRun(folder, record, value)
