"""Ctrl-C: the first saves, and nothing is left behind. The second is in test_killed_driver.py."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines.tracking.writer import Store
from tests.conftest import Said
from tests.faults.story import TRAIN, Start, each_step_once, epochs_done, finish, wait_for, without_times

Cli = Callable[..., Said]

pytestmark = pytest.mark.slow


def test_one_interrupt_saves_within_20_seconds_leaves_no_process_and_continues(
    undisturbed: dict[str, float], labs_cli: Cli, home: Path, labs_process: Start
) -> None:
    """Interrupted on a Ray worker, it continues in this process: placement is no part of a run."""
    process = labs_process(*TRAIN)
    wait_for(lambda: epochs_done(home) >= 5, process)
    family = psutil.Process(process.pid).children(recursive=True)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    code, _, err = finish(process)
    assert (code, time.monotonic() - start < 20) == (130, True), err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert {run.info.status for run in Store(home, None).client().search_runs(["1"])} == {"KILLED"}
    continued = labs_cli(*TRAIN, "--workers", "0")
    assert continued.code == 0, continued.err
    assert without_times(continued.json["metrics"]) == undisturbed
    assert each_step_once(home, continued.json["run_id"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "cnn", "--workers", "0"), "nothing was trained yet; the same command starts it"),
        (("tune", "cnn"), "interrupted while data were prepared"),
    ],
)
def test_an_interrupt_while_data_are_prepared_ends_the_command(
    home: Path, labs_process: Start, command: tuple[str, ...], said: str
) -> None:
    """`labs tune` prepared them without looking up."""
    process = labs_process(*command, "--json")
    wait_for(lambda: list(home.glob("data/cnn/*")), process)
    os.kill(process.pid, signal.SIGINT)
    start = time.monotonic()
    code, document, err = finish(process)
    assert (code, document["status"], time.monotonic() - start < 10) == (130, "KILLED", True), err
    assert said in err
    assert "Traceback" not in err
