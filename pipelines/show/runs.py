"""Runs to compare, read from the home folder or from an MLflow store.

The folders are the truth, and reading them costs nothing: to import MLflow alone takes 2 s. A store is read where the
user names one, and has the runs of other homes as well. Both give the same rows.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from labs.core import events
from labs.core.errors import BadInput
from pipelines.best_run import best_trials
from pipelines.home import reconcile, records, result
from pipelines.record_fields import BEST
from pipelines.system_load import SYSTEM
from pipelines.tracking.mirror import PARENT, SECONDS
from pipelines.tracking.writer import Store, run_id, run_ids, search

DIGEST_LENGTH = 36
"""Characters of a data set's digest that MLflow keeps."""
INFINITE = 1.7e308
"""MLflow stores an infinite value as the largest finite one."""


@dataclass(frozen=True)
class Data:
    """What a run was trained on."""

    digest: str
    origin: str
    """`generated`, `folder` (the user's) or `environment`."""
    splits: dict[str, int]
    """Split -> number of its rows."""


@dataclass(frozen=True)
class Run:
    """A run of a lab."""

    run_id: str
    """Id of its MLflow run; of one that no store has yet, the name of its folder."""
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    """Last value of each metric."""
    seconds: float
    """Of all commands that worked on it, without the pauses between them."""
    curve: Callable[[str], Iterable[tuple[int, float]]]
    """`curve(metric)`: epoch and value of each time that the metric was logged."""
    data: Data
    status: str = "FINISHED"
    """In MLflow's words."""
    remark: str = ""
    """Of a run that has not finished: its error, or how far it is."""
    sweep: str = ""
    """Of a sweep's best trial: the name of the sweep's folder."""

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.tags["labs.folder"].rsplit("/", 1)[-1]

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.tags["labs.seed"])

    @property
    def metric(self) -> str:
        """What it is compared by: the lab's metric on the test set, or, without its answers, on validation data."""
        name = self.tags["labs.metric"]
        return f"test/{name}" if f"test/{name}" in self.metrics else f"val/{name}"

    @property
    def score(self) -> float:
        """Value of the metric, on validation data that of the weights that the run kept; NaN if there is none."""
        last = self.metrics.get(self.metric, math.nan)
        return self.metrics.get("best/value", last) if self.metric.startswith("val/") else last

    @property
    def outcome(self) -> str:
        """Its status; DIVERGED where a finished run's score, or what a failed run logged last, is not a finite number.

        A run that finished without a score, as those of `labs scale`, is UNSCORED.
        """
        logged = [self.metrics[name] for name in ("train/loss", self.metric) if name in self.metrics]
        if self.status == "FINISHED" and not logged:
            return "UNSCORED"
        seen = {"FINISHED": [self.score], "FAILED": logged}.get(self.status, [])
        return self.status if all(map(math.isfinite, seen)) else "DIVERGED"

    @property
    def reason(self) -> str:
        """Why it has no score to be averaged, or how far it is."""
        return self.remark or {"DIVERGED": f"{self.metric} is {self.score}"}.get(self.outcome, "")

    def is_called(self, name: str) -> bool:
        """Whether `name` is the beginning of its id or of its folder's name; a trial's is only a number."""
        return self.run_id.startswith(name) or ("labs.trial" not in self.tags and self.folder.startswith(name))


@dataclass(frozen=True)
class Runs:
    """The runs of one place, oldest first."""

    place: str
    found: list[Run]
    pipelines: dict[str, set[str]]
    """Pipeline's name -> names of the folders of its newest run's nodes, new or reused."""

    def choose(self, names: list[str], lab: str | None, pipeline: str | None) -> list[Run]:
        """Some of the runs.

        Args:
            names: ids or folders' names, or their beginnings; if empty all runs, and of a sweep its best trial.
            lab: only this lab's.
            pipeline: only the runs, new or reused, of the newest pipeline run of this name.

        Raises:
            BadInput: a run or pipeline that the place does not have.
        """
        if pipeline is not None and pipeline not in self.pipelines:
            known = ", ".join(sorted(self.pipelines)) or "none"
            raise BadInput(f"no pipeline {pipeline!r} in {self.place}: it has {known}")
        chosen = [run for run in self.found if lab in (None, run.tags["labs.lab"])]
        if pipeline is not None:
            nodes = self.pipelines[pipeline]
            chosen = [run for run in chosen if (run.sweep or run.folder) in nodes]
        for name in names:
            if not name:
                raise BadInput("the name of a run is empty: give its id, or the name of its folder, or its beginning")
            if not any(run.is_called(name) for run in chosen):
                raise BadInput(f"no run {name!r} in {self.place}: `labs compare --json` has the ids of all")
        if names:
            return [run for run in chosen if any(run.is_called(name) for name in names)]
        # Other trials and the runs of `labs scale` are many, and one is compared where it is named.
        return [run for run in chosen if run.sweep or not {"labs.trial", "labs.measured"} & run.tags.keys()]


def of_home(home: Path, *, trials: bool = False) -> Runs:
    """The runs of the home folder, whatever store they were written to, and each finished sweep's best trial.

    Args:
        home: the home folder.
        trials: whether to read all trials of sweeps, which are many.
    """
    reconcile(home)
    own, best = Store(home, None), dict(best_trials(home))
    found = [of_folder(folder, record, own) for folder, record in records(home, "runs")]
    tried = list(records(home, "trials")) if trials else best.items()
    found += [of_folder(folder, record, own, folder.parents[1].name if folder in best else "")
              for folder, record in tried]  # fmt: skip
    pipelines = {}
    for _, record in sorted(records(home, "pipelines"), key=lambda pair: pair[1].get("started", pair[1]["created"])):
        pipelines[record["name"]] = {Path(node["folder"]).name for node in record["nodes"].values()}
    return Runs(str(home), found, pipelines)


def of_store(store: Store) -> Runs:
    """The runs of an MLflow store, of all homes that write to it."""
    client = store.client()
    best = {
        (sweep.info.run_id, sweep.data.tags[BEST]): sweep.data.tags["labs.folder"].rsplit("/", 1)[-1]
        for sweep in search(client, store.experiment, f"tags.`{BEST}` LIKE '%' and attributes.status = 'FINISHED'")
    }
    found = [_of_mlflow(client, run, best) for run in search(client, store.experiment, "tags.`labs.lab` LIKE '%'")]
    pipelines = {}
    for parent in search(client, store.experiment, "tags.`labs.pipeline` LIKE '%'"):
        tags = parent.data.tags
        nodes = {value for name, value in tags.items() if name.startswith("labs.node.")}
        pipelines[tags["labs.pipeline"]] = nodes
    return Runs(store.shown_uri, found, pipelines)


def of_folder(folder: Path, record: dict[str, Any], store: Store, sweep: str = "") -> Run:
    """The run of a folder.

    Args:
        folder: the folder.
        record: its record.
        store: where the run has its id.
        sweep: of a sweep's best trial, the name of the sweep's folder.
    """
    ids = [own] if (own := run_id(folder, store)) else run_ids(folder)
    written: list[dict[str, Any]] = []
    if not (metrics := result(folder).get("metrics", {})):
        written = events.read(folder)
        metrics = _last(written)
    data = record["data"]
    return Run(
        run_id=[*ids, _name(folder, record)][0],
        tags=record["tags"],
        params={name: str(value) for name, value in record["params"].items()},
        metrics={**metrics, **_last(events.read(folder / SYSTEM)[-1:])},
        seconds=record["seconds"],
        curve=partial(_events_of, folder),
        data=Data(data["digest"][:DIGEST_LENGTH], data["origin"], data["splits"]),
        status=record["status"],
        remark="" if record["status"] == "FINISHED" else record["error"] or _progress(written),
        sweep=sweep,
    )


def _name(folder: Path, record: dict[str, Any]) -> str:
    """What a run is called that no store has; a trial's folder is only a number."""
    return f"{folder.parents[1].name}/trials/{folder.name}" if "labs.trial" in record["tags"] else folder.name


def _last(written: list[dict[str, Any]]) -> dict[str, float]:
    return {name: value for event in written for name, value in event["metrics"].items()}


def _progress(written: list[dict[str, Any]]) -> str:
    """How far a run is whose events these are."""
    trained = [event for event in written if "of" in event]
    return f"after epoch {trained[-1]['step']} of {trained[-1]['of']}" if trained else "before its first epoch's end"


def _events_of(folder: Path, metric: str) -> list[tuple[int, float]]:
    return [(event["step"], event["metrics"][metric]) for event in events.read(folder) if metric in event["metrics"]]


def _of_mlflow(client: Any, run: Any, best: Mapping[tuple[str, str], str]) -> Run:
    tags, info = run.data.tags, run.info
    # A store may have runs of an earlier version, without that tag: their seconds count pauses between commands too.
    # Of one that has not ended yet, they are those since its start.
    until = info.end_time or time.time() * 1000
    return Run(
        run_id=info.run_id,
        tags=dict(tags),
        params=dict(run.data.params),
        metrics={name: _restored(value) for name, value in run.data.metrics.items()},
        seconds=float(tags.get(SECONDS, (until - info.start_time) / 1000)),
        curve=partial(_history, client, info.run_id),
        data=_data_of_mlflow(run.inputs.dataset_inputs),
        status=info.status,
        sweep=best.get((tags.get(PARENT, ""), tags.get("labs.trial", "")), ""),
    )


def _data_of_mlflow(inputs: list[Any]) -> Data:
    """What `snapshot.dataset` wrote; of a run that a process died to begin there is nothing yet."""
    if not inputs:
        return Data("", "", {})
    found = inputs[0].dataset
    return Data(found.digest, found.name.rpartition("(")[2].removesuffix(")"), json.loads(found.profile))


def _history(client: Any, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, _restored(point.value)) for point in client.get_metric_history(run_id, metric)]


def _restored(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) > INFINITE else value
