"""Finished runs to compare, read from the home folder or from an MLflow store.

The folders are the truth, and reading them costs nothing: to import MLflow alone takes 2 s. A store is read where the
user names one, and has the runs of other homes as well. Both give the same rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from labs.core import events
from labs.core.errors import BadInput
from pipelines.home import records
from pipelines.tracking.mirror import SECONDS
from pipelines.tracking.writer import Store, run_id, run_ids, search


@dataclass(frozen=True)
class Run:
    """A finished run of a lab."""

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

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.tags["labs.folder"].rsplit("/", 1)[-1]

    def is_called(self, name: str) -> bool:
        """Whether `name` is the beginning of its id or of its folder's name."""
        return self.run_id.startswith(name) or self.folder.startswith(name)


@dataclass(frozen=True)
class Runs:
    """The finished runs of one place, oldest first."""

    place: str
    found: list[Run]
    pipelines: dict[str, set[str]]
    """Pipeline's name -> names of the folders of its newest run's nodes, new or reused."""

    def choose(self, names: list[str], lab: str | None, pipeline: str | None) -> list[Run]:
        """Some of the runs.

        Args:
            names: ids or folders' names, or their beginnings; all runs but a sweep's trials if empty.
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
            chosen = [run for run in chosen if run.folder in self.pipelines[pipeline]]
        for name in names:
            if not name:
                raise BadInput("the name of a run is empty: give its id, or the name of its folder, or its beginning")
            if not any(run.is_called(name) for run in chosen):
                raise BadInput(f"no finished run {name!r} in {self.place}: `labs compare --json` has the ids of all")
        if not names:  # trials of sweeps and runs of `labs scale` are many, and one is compared where it is named
            return [run for run in chosen if not {"labs.trial", "labs.measured"} & run.tags.keys()]
        return [run for run in chosen if any(run.is_called(name) for name in names)]


def of_home(home: Path, *, trials: bool = False) -> Runs:
    """The runs of the home folder, whatever store they were written to; trials of sweeps, which are many, if asked."""
    own = Store(home, None)
    every = [*records(home, "runs"), *(records(home, "trials") if trials else ())]
    found = [_of_folder(folder, record, own) for folder, record in every if record["status"] == "FINISHED"]
    pipelines = {}
    for _, record in sorted(records(home, "pipelines"), key=lambda pair: pair[1].get("started", pair[1]["created"])):
        pipelines[record["name"]] = {Path(node["folder"]).name for node in record["nodes"].values()}
    return Runs(str(home), found, pipelines)


def of_store(store: Store) -> Runs:
    """The runs of an MLflow store, of all homes that write to it."""
    client = store.client()
    wanted = "tags.`labs.lab` LIKE '%' and attributes.status = 'FINISHED'"
    found = [_of_mlflow(client, run) for run in search(client, store.experiment, wanted)]
    pipelines = {}
    for parent in search(client, store.experiment, "tags.`labs.pipeline` LIKE '%'"):
        tags = parent.data.tags
        nodes = {value for name, value in tags.items() if name.startswith("labs.node.")}
        pipelines[tags["labs.pipeline"]] = nodes
    return Runs(store.shown_uri, found, pipelines)


def _of_folder(folder: Path, record: dict[str, Any], store: Store) -> Run:
    ids = [own] if (own := run_id(folder, store)) else run_ids(folder)
    params = {name: str(value) for name, value in record["params"].items()}
    metrics = {name: value for event in events.read(folder) for name, value in event["metrics"].items()}
    curve = partial(_events_of, folder)
    return Run([*ids, folder.name][0], record["tags"], params, metrics, record["seconds"], curve)


def _events_of(folder: Path, metric: str) -> list[tuple[int, float]]:
    return [(event["step"], event["metrics"][metric]) for event in events.read(folder) if metric in event["metrics"]]


def _of_mlflow(client: Any, run: Any) -> Run:
    data, info = run.data, run.info
    # A store may have runs of an earlier version, without that tag: their seconds count pauses between commands too.
    seconds = float(data.tags.get(SECONDS, (info.end_time - info.start_time) / 1000))
    history = partial(_history, client, info.run_id)
    return Run(info.run_id, dict(data.tags), dict(data.params), dict(data.metrics), seconds, history)


def _history(client: Any, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, metric)]
