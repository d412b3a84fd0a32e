"""A bare run has the process's random generators to itself: nothing else in the driver computes with torch then."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import worker
from pipelines.tracking.writer import MIRROR, Store
from tests.conftest import Said

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")


@pytest.fixture
def unmirrored(labs_cli: Cli, home: Path) -> Path:
    """A finished run that no store has yet."""
    assert labs_cli(*TRAIN).code == 0
    (folder,) = (home / "runs").iterdir()
    (folder / MIRROR).unlink()
    return folder


def test_no_model_is_logged_while_a_bare_run_trains_and_the_next_look_completes_the_mirror(
    home: Path, unmirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labs.regression import lesson

    started, logged, drawn = threading.Event(), threading.Event(), list[float]()

    def load(folder: Path) -> Any:
        torch.rand(1)  # as the initialisation of a network does
        return lesson_load(folder)

    def work(job: Any) -> str:
        torch.manual_seed(0)
        started.set()
        logged.wait(60)
        drawn.append(float(torch.rand(1)))
        return "FINISHED"

    lesson_load = lesson.LAB.load
    monkeypatch.setattr(lesson, "LAB", replace(lesson.LAB, load=load))
    monkeypatch.setattr(worker, "work", work)
    trains = threading.Thread(target=worker.run_bare, args=(None,))
    trains.start()
    started.wait(60)
    store = Store(home, f"sqlite:///{tmp_path / 'other.db'}")
    run_id = store.sync(unmirrored)
    logged.set()
    trains.join()
    torch.manual_seed(0)
    assert drawn == [float(torch.rand(1))]
    run = store.client().get_run(run_id)
    assert run.info.status == "RUNNING"
    assert "val/mse" in run.data.metrics  # metrics did not wait
    assert store.sync(unmirrored) == run_id
    run = store.client().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert len(run.outputs.model_outputs) == 1
    assert json.loads((unmirrored / MIRROR).read_text())[store.name]["ended"] == "FINISHED"
