"""A driver that dies: the same command ends with the numbers of an undisturbed run."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipelines.tracking.writer import Store
from tests.conftest import Said
from tests.faults.story import (
    OFTEN,
    TRAIN,
    Start,
    each_step_once,
    epochs_done,
    saved,
    wait_for,
    without_times,
)

Cli = Callable[..., Said]

pytestmark = pytest.mark.slow


def test_a_driver_that_ends_at_once_and_is_then_killed_ends_like_an_undisturbed_one(
    undisturbed: dict[str, float], labs_cli: Cli, home: Path, labs_process: Start
) -> None:
    """Ended before a checkpoint by the second Ctrl-C, which leaves no process, and after one by SIGKILL."""
    process = labs_process(*TRAIN, before=OFTEN)
    wait_for(lambda: epochs_done(home) >= 3, process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    assert not psutil.wait_procs(family, timeout=20)[1]

    process = labs_process(*TRAIN, before=OFTEN)
    wait_for(lambda: saved(home), process)
    process.kill()
    process.wait()
    continued = labs_cli(*TRAIN, "--workers", "0")
    assert continued.code == 0, continued.err
    assert without_times(continued.json["metrics"]) == undisturbed
    assert len(list((home / "runs").iterdir())) == 1
    store = Store(home, None)
    runs = store.client().search_runs([store.experiment])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert each_step_once(home, continued.json["run_id"])


def test_a_driver_killed_while_it_makes_the_stores_schema_leaves_a_store_that_works(
    labs_cli: Cli, home: Path, labs_process: Start
) -> None:
    bare = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")
    (home / "mlflow.db").unlink()
    process = labs_process(*bare)

    def half_made() -> bool:
        size = 0
        for file in home.glob("mlflow.db*"):
            with suppress(FileNotFoundError):  # SQLite's journal comes and goes
                size += file.stat().st_size
        return size > 200_000

    wait_for(half_made, process)
    process.kill()
    process.wait()
    continued = labs_cli(*bare)
    assert continued.code == 0
    assert "can't be written" not in continued.err
    assert continued.json["run_id"]
