"""A sweep whose driver dies or is interrupted: the same command ends with the trials of an undisturbed one."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from labs.core import events
from pipelines.home import read_record
from pipelines.tracking.writer import Store
from tests.conftest import Said
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import WAIT_S, Start, wait_for
from tests.faults.test_killed_worker import kill

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
# One trial at a time, each sampled by its number alone: what is found can't depend on when something died.
ONE_BY_ONE = ("--trials", "2", "--search", "random", "--scheduler", "none", "--concurrent", "1")
EPOCHS = 60  # a trial of some seconds: long enough to be caught half-way
LONG = ("--set", f"epochs={EPOCHS}", "--fix", f"patience={EPOCHS}")
TUNE = ("tune", "regression", "--preset", "strong", "--size", "tiny", *LONG, *ONE_BY_ONE, "--json")


def trials(home: Path, status: str) -> list[Path]:
    found = sorted((home / "sweeps").glob("*/trials/*/record.json"))
    return [record.parent for record in found if read_record(record.parent)["status"] == status]


def half_way(home: Path, ended: int) -> bool:
    """Whether so many trials have ended and another one has done some epochs."""
    running = trials(home, "RUNNING")
    return len(trials(home, "FINISHED")) >= ended and bool(running) and len(events.read(running[0])) >= 3


def found(document: Any) -> list[tuple[Any, ...]]:
    return [(trial["status"], trial["value"], sorted(trial["config"].items())) for trial in document["trials"]]


def interrupt_when(moment: Callable[[], object]) -> threading.Thread:
    """Wait in a thread for the moment, and interrupt this process, in which the sweep runs."""

    def wait_and_interrupt() -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if moment():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_interrupt, daemon=True)
    thread.start()
    return thread


def test_a_sweep_killed_and_interrupted_ends_like_an_undisturbed_one_and_leaves_no_process(
    labs_cli: Cli, home: Path, labs_process: Start, tmp_path: Path
) -> None:
    if len(FAULT_SEEDS) >= 10:  # a Ray of its own takes half a minute: make faults
        process = labs_process(*TUNE)
        wait_for(lambda: half_way(home, 0), process)
        process.kill()
        process.wait()

    family = psutil.Process().children(recursive=True)
    interrupting = interrupt_when(lambda: half_way(home, 1))
    stopped = labs_cli(*TUNE)
    interrupting.join(1)
    assert (stopped.code, stopped.json["status"]) == (130, "KILLED"), stopped.err
    trial_processes = [child for child in psutil.Process().children(recursive=True) if child not in family]
    assert not psutil.wait_procs(trial_processes, timeout=20)[1]
    (first,) = trials(home, "FINISHED")
    before = read_record(first)
    (interrupted,) = trials(home, "KILLED")
    done = len(events.read(interrupted))

    continued = labs_cli(*TUNE)
    assert continued.code == 0, continued.err
    assert read_record(first)["started"] == before["started"]  # it was not run again
    assert len(events.read(interrupted)) > done >= 3
    undisturbed = labs_cli(*TUNE, "--home", tmp_path / "undisturbed")
    assert found(continued.json) == found(undisturbed.json)
    client = Store(home, None).client()
    for trial in continued.json["trials"]:
        steps = [point.step for point in client.get_metric_history(trial["run_id"], "val/mse")]
        assert steps == list(range(1, EPOCHS + 1))


def test_a_trial_whose_process_is_lost_goes_on_as_often_as_it_may(labs_cli: Cli, home: Path) -> None:
    def kill_twice() -> None:
        for _ in range(2):
            kill(lambda: half_way(home, 0), "ray::ImplicitFunc").join()

    killing = threading.Thread(target=kill_twice)
    killing.start()
    said = labs_cli(*TUNE, "--trials", "1", "--retries", "1")
    killing.join()
    (trial,) = said.json["trials"]
    assert (trial["status"], said.code) == ("FAILED", 1), said.err
    assert trial["error"] == "its process was lost (retries: 1)"
