"""The experiment as MLflow's interface shows it: its description, and a saved view for each lab.

All runs are in one experiment, so that a pipeline, its runs and their trials are one tree. A view shows the runs of one
lab, the best one first, with the columns that answer which preset is best and what it costs; its charts are of that lab
alone. MLflow keeps a view as a tag of the experiment.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import labs
from pipelines.tracking.about import CORE_SECONDS, FAILED, FINISHED, LAB, NOTE, SECONDS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

VIEW = "mlflow.sharedViewState."
OVERVIEW = "overview"
TRIED = "mlflow.labs.tried"
"""Tag with the Unix time at which a command has last tried whether the store takes what is written to it."""
DESCRIPTION = """\
**Views**, above the table, has a view for each lab: its runs, best first, with what they cost; its charts are of that \
lab alone.

A row is a pipeline (the plus sign shows its runs), a run of one lab, or a sweep with its trials. `test/...` is the \
result, `val/...` what settings are chosen by, `cost/core_seconds` the time times the CPUs that were held. The page of \
a run says how to repeat it.

The labs are those of NTU's *Machine Learning, Spring 2022*.
"""


def describe(client: "MlflowClient", experiment: "Experiment", lab: str = "") -> None:
    """Write what is missing of the description, the view of all runs, and that of a lab's."""
    wanted = {f"{VIEW}{OVERVIEW}": _overview(experiment), NOTE: DESCRIPTION}
    if lab:
        wanted[f"{VIEW}{lab}"] = _of_lab(experiment, lab)
    for name in wanted.keys() - experiment.tags.keys():
        client.set_experiment_tag(experiment.experiment_id, name, wanted[name])
        experiment.tags[name] = wanted[name]


def write_once(client: "MlflowClient", experiment: "Experiment") -> None:
    """Write a tag, whatever is there: a user who may only read is refused."""
    client.set_experiment_tag(experiment.experiment_id, TRIED, str(int(time.time())))


def write_file(experiment: "Experiment", uri: str) -> None:
    """Write a file of the experiment's own: a bucket that is missing is seen before a run has files."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with TemporaryDirectory(prefix="labs-") as folder:
        file = Path(folder, "about.md")
        file.write_text(DESCRIPTION)
        get_artifact_repository(experiment.artifact_location, tracking_uri=uri).log_artifact(str(file))


def page(experiment: "Experiment") -> str:
    """Where MLflow's interface shows the runs."""
    view = f"&viewStateShareKey={OVERVIEW}" if f"{VIEW}{OVERVIEW}" in experiment.tags else ""
    return f"#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning{view}"


def _overview(experiment: "Experiment") -> str:
    metrics = [FINISHED, FAILED, SECONDS, CORE_SECONDS]
    columns = [f"tags.`{LAB}`", *_params(), *(f"metrics.`{name}`" for name in metrics)]
    return _view(experiment, "All runs", columns, {})


def _of_lab(experiment: "Experiment", lab: str) -> str:
    heading = labs.heading(lab)
    test, val = (f"metrics.`{part}/{heading.metric.name}`" for part in ("test", "val"))
    columns = [*_params(), test, val, *(f"metrics.`{name}`" for name in (SECONDS, CORE_SECONDS))]
    best_first = {"orderByKey": test, "orderByAsc": heading.metric.goal == "min"}
    title = f"{heading.number:02} {lab}: best by test/{heading.metric.name}"
    state = {"searchFilter": f"tags.{LAB} = '{lab}'", **best_first, **_charts(f"test/{heading.metric.name}")}
    return _view(experiment, title, columns, state)


def _charts(test: str) -> dict[str, Any]:
    """The charts' sections in the order in which they are of use, and a bar for each run's result.

    MLflow adds a chart for every other metric, and the sections that are missing.
    """
    sections = [
        {"uuid": name, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": True}
        for name in ("test", "val", "train", "cost")
    ]
    bar = {"type": "BAR", "uuid": test, "metricSectionId": "test", "metricKey": test, "deleted": False}
    charts = [{**bar, "isGenerated": True, "runsCountToCompare": 10}]
    return {"compareRunSections": sections, "compareRunCharts": charts, "isAccordionReordered": True}


def _params() -> list[str]:
    return [f"params.`{name}`" for name in ("preset", "size", "seed")]


def _view(experiment: "Experiment", name: str, columns: list[str], search: dict[str, Any]) -> str:
    """A view as MLflow saves one: its name, and the state of the page as JSON."""
    state = json.dumps({"selectedColumns": columns, "columnOrder": columns, **search})
    made = experiment.creation_time or 0
    return json.dumps({"name": name, "createdAt": made, "updatedAt": made, "state": state})
