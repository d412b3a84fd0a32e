"""What MLflow's list, its views and the pages of runs show of what was run."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.home import read_record
from pipelines.tracking.mirror import MIRROR
from pipelines.tracking.writer import Store
from tests.benchmarks.growth import StandIn
from tests.conftest import Said

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--seed")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs only write three events and a result."""
    monkeypatch.setattr("pipelines.execution.run_job", StandIn().run)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A pipeline of two nodes."""
    node = {"lab": "regression", "preset": "medium", "size": "tiny", "resources": {"workers": 0}, "seeds": [3, 4]}
    file = tmp_path / "spec.yaml"
    file.write_text(json.dumps({"name": "two", "nodes": {"a": node}}))
    return file


def runs(home: Path) -> list[Any]:
    """The runs in the home's own store, as MLflow has them, oldest first."""
    store = Store(home, None)
    return list(store.client().search_runs([store.experiment], order_by=["attributes.start_time"]))


def test_a_pipeline_says_what_its_runs_have_reached_and_cost(labs_cli: Cli, home: Path, spec: Path) -> None:
    labs_cli(*TRAIN, "3", "--preset", "medium")
    said = labs_cli("pipeline", "run", str(spec), "--json").json
    _, pipeline, own = runs(home)
    assert pipeline.info.run_id == said["run_id"]
    assert pipeline.info.run_name.startswith("two 20")
    nodes = {node["name"]: node for node in said["nodes"]}
    reached = {f"{name}/test/mse": node["value"] for name, node in nodes.items()}
    counts = {"nodes/finished": 2, "nodes/failed": 0, "nodes/reused": 1}
    assert {**counts, **reached}.items() <= pipeline.data.metrics.items()
    assert pipeline.data.metrics["cost/core_seconds"] == pytest.approx(own.data.metrics["cost/core_seconds"])
    assert "labs pipeline run spec.yaml" in pipeline.data.tags["mlflow.note.content"]
    assert own.data.tags["mlflow.parentRunId"] == pipeline.info.run_id


def test_one_run_has_no_empty_parent_and_a_command_that_did_nothing_leaves_none(
    labs_cli: Cli, home: Path, spec: Path
) -> None:
    trained = [labs_cli(*TRAIN, seed, "--preset", "medium", "--json").json["run_id"] for seed in ("3", "4", "4")]
    assert labs_cli("status", "--json").json["run_id"] == trained[1]
    said = labs_cli("pipeline", "run", str(spec), "--json").json
    assert {node["reused"] for node in said["nodes"]} == {True}
    assert {run.info.run_id for run in runs(home)} == set(trained)


@pytest.mark.parametrize(
    "options",
    [("--set", "lr=0.003"), ("--batch-per-worker", "192", "--precision", "fp32", "--gpus-per-worker", "0")],
    ids=["field", "options"],
)
def test_a_run_says_what_it_is_and_how_to_repeat_it_without_the_program_s_tags(
    labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    assert labs_cli(*TRAIN, "7", "--preset", "strong", *options).code == 0
    (run,) = runs(home)
    assert {name for name in run.data.tags if not name.startswith("mlflow.")} == {"lab"}
    about, repeated = run.data.tags["mlflow.note.content"].split(" Repeat: ")
    assert about.startswith(
        "Lab 1, **COVID-19 positive rate** (regression): preset strong at size tiny, seed 7, on gen"
    )
    command = repeated.strip("`.").split()
    assert command[:3] == ["labs", "train", "regression"]
    assert labs_cli(*command[1:], "--json").json["run_id"] == run.info.run_id


def test_a_lab_has_a_view_of_its_runs_with_the_best_first(labs_cli: Cli, home: Path) -> None:
    labs_cli(*TRAIN, "0")
    store = Store(home, None)
    experiment = store.client().get_experiment(store.experiment)
    assert "**Views**" in experiment.tags["mlflow.note.content"]
    view = json.loads(experiment.tags["mlflow.sharedViewState.regression"])
    state = json.loads(view["state"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`test/mse`", True)
    assert len(store.client().search_runs([store.experiment], state["searchFilter"])) == 1
    assert len(store.client().search_runs([store.experiment], state["searchFilter"].replace("regression", "cnn"))) == 0


def test_a_store_of_an_earlier_version_is_read_and_completed_without_doubling(labs_cli: Cli, home: Path) -> None:
    """It had the program's tags for all to see, under other names, and other names of the store in the folders."""
    labs_cli(*TRAIN, "0")
    (before,) = runs(home)
    with sqlite3.connect(home / "mlflow.db") as database:
        database.execute("delete from tags where key in ('lab', 'mlflow.note.content')")
        database.execute("update tags set key = substr(key, 8) where key like 'mlflow.labs.%'")
    (folder,) = (home / "runs").iterdir()
    notes = json.loads((folder / MIRROR).read_text())
    (folder / MIRROR).write_text(json.dumps({"earlier": next(iter(notes.values()))}))
    uri = f"sqlite:///{home / 'mlflow.db'}"
    assert labs_cli("compare", "--store", uri, "--json").json[0]["run_ids"] == [before.info.run_id]
    assert labs_cli("sync").code == 0
    (after,) = runs(home)
    assert (after.info.run_id, after.data.tags["lab"]) == (before.info.run_id, "regression")
    assert "Repeat" in after.data.tags["mlflow.note.content"]
    points = Store(home, None).client().get_metric_history(after.info.run_id, "val/mse")
    assert [point.step for point in points] == [1, 2, 3]
    assert read_record(folder)["status"] == after.info.status
    assert labs_cli("compare", "--store", uri, "--json").json[0]["run_ids"] == [before.info.run_id]
