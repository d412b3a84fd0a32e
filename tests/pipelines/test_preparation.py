"""Data sets as units of the schedule: what waits for them, what does not, and whether a fingerprint needs them."""

import errno
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labs
from labs.core import events
from pipelines import datasets
from pipelines.home import RESULT
from pipelines.job import Job
from tests.conftest import Said

Cli = Callable[..., Said]
SPEC = """
name: two
nodes:
  quick: {lab: regression, size: tiny, resources: {workers: 0}}
  slow: {lab: meta, size: tiny, resources: {workers: 0}}
  after: {lab: regression, size: tiny, resources: {workers: 0}, seeds: [1], needs: {x: slow}}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(SPEC)
    return path


def statuses(said: Said) -> dict[str, str]:
    return {node["name"]: node["status"] for node in said.json["nodes"]}


def test_a_node_trains_while_the_data_of_others_are_still_being_made(
    labs_cli: Cli, home: Path, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, order, prepared = threading.Event(), list[str](), datasets.prepared

    def train(job: Job) -> str:
        """Stands in for training."""
        order.append(job.lab)
        events.write_text(job.folder / RESULT, '{"metrics": {}, "steps": 1}')
        trained.set()
        return "FINISHED"

    def prepare(home: Path, lab: Any, *what: Any) -> Path:
        if lab.name == "meta":
            assert trained.wait(20)
            order.append("data of meta")
        return prepared(home, lab, *what)

    (home / "data").unlink()
    monkeypatch.setattr("pipelines.execution.run_job", train)
    monkeypatch.setattr(datasets, "prepared", prepare)
    prepared(home, labs.get("regression"), "tiny", None)
    said = labs_cli("pipeline", "run", spec, "--json")
    assert said.code == 0, said.err
    assert order == ["regression", "data of meta", "meta", "regression"]
    assert "data of meta: RUNNING" in said.err


def test_data_that_can_not_be_made_fail_the_nodes_that_need_them_and_no_others(
    labs_cli: Cli, home: Path, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labs.meta import data

    def make(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "train.arrow")

    (home / "data").unlink()
    monkeypatch.setattr(data, "make", make)
    said = labs_cli("pipeline", "run", spec, "--json")
    assert said.code == 1
    assert statuses(said) == {"quick": "FINISHED", "slow": "FAILED", "after-s1": "BLOCKED"}
    assert "slow: data of lab meta: OSError: [Errno 28] No space left on device" in said.err
    monkeypatch.undo()
    monkeypatch.setenv("LABS_HOME", str(home))
    again = labs_cli("pipeline", "run", spec, "--json")
    assert again.code == 0, again.err
    assert [node["name"] for node in again.json["nodes"] if node["reused"]] == ["quick"]


def test_a_run_whose_generated_data_were_removed_is_reused_without_them(labs_cli: Cli, home: Path) -> None:
    (home / "data").unlink()
    train = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")
    first = labs_cli(*train)
    assert datasets.packed_bytes(datasets.location(home, labs.get("regression"), "tiny", None)) > 0
    shutil.rmtree(home / "data")
    assert labs_cli(*train).json["run_id"] == first.json["run_id"]
    assert not (home / "data").exists()


def test_a_plan_has_the_data_that_are_still_to_be_made(labs_cli: Cli, home: Path, spec: Path) -> None:
    (home / "data").unlink()
    planned = labs_cli("pipeline", "plan", spec, "--cluster", "(1 CPU)", "--json").json
    work = sum(node["seconds"] for node in planned["nodes"])
    assert planned["data_s"] == 2.0
    assert planned["bound_s"] == pytest.approx(work + 2.0)
    assert planned["makespan_s"] == pytest.approx(work + 2.0)
    assert planned["used"] == pytest.approx(1.0)
