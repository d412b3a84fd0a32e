"""Processes that die: whatever is killed, the same command ends with the numbers of an undisturbed run."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from labs import events
from pipelines.tracking import Store
from tests.conftest import Said

Start = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.slow
WAIT_S = 120
EPOCHS = ("--set", "epochs=160", "--set", "patience=160")
TRAIN = ("train", "regression", "--preset", "strong", "--json", *EPOCHS)


@pytest.fixture
def undisturbed(labs_cli: Callable[..., Said], home: Path) -> dict[str, float]:
    """Metrics of the run when nothing happens to it; trained in this process, in a home of its own."""
    said = labs_cli(*TRAIN, "--workers", "0", "--home", home / "undisturbed")
    return without_times(said.json["metrics"])


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/"))}


def run_folder(home: Path) -> Path:
    return next((home / "runs").glob("*"))


def wait_for(what: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def epochs_done(home: Path) -> int:
    return max((event["step"] for folder in (home / "runs").glob("*") for event in events.read(folder)), default=0)


def finish(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, json.loads(out) if out.strip() else None, err


def each_step_once(home: Path, run_id: str) -> bool:
    points = Store(home, None).client().get_metric_history(run_id, "val/mse")
    steps = [point.step for point in points]
    return steps == sorted(set(steps)) == list(range(1, len(steps) + 1))


def test_a_driver_killed_at_several_moments_ends_like_an_undisturbed_one(
    undisturbed: dict[str, float], home: Path, labs_process: Start
) -> None:
    moments: list[Callable[[], object]] = [
        lambda: list((home / "runs").glob("*/record.json")),
        lambda: epochs_done(home) >= 5,
        lambda: list((home / "runs").glob("*/checkpoints/step-*")),
        lambda: (run_folder(home) / "result.json").exists(),
    ]
    for moment in moments:
        process = labs_process(*TRAIN)
        wait_for(moment, process)
        process.kill()
        process.wait()
    code, document, err = finish(labs_process(*TRAIN))
    assert code == 0, err
    assert without_times(document["metrics"]) == undisturbed
    assert len(list((home / "runs").iterdir())) == 1
    store = Store(home, None)
    runs = store.client().search_runs([store.experiment])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert each_step_once(home, document["run_id"])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_train_worker_is_started_again_and_the_run_goes_on(
    undisturbed: dict[str, float], home: Path, labs_process: Start, workers: int
) -> None:
    process = labs_process(*TRAIN, "--workers", str(workers))
    wait_for(lambda: epochs_done(home) >= 10, process)
    children = psutil.Process(process.pid).children(recursive=True)
    trainers = [child for child in children if "RayTrainWorker" in " ".join(child.cmdline())]
    assert len(trainers) == workers
    trainers[-1].kill()
    code, document, err = finish(process)
    assert code == 0, err
    if workers == 1:
        assert without_times(document["metrics"]) == undisturbed
    assert each_step_once(home, document["run_id"])


def test_one_interrupt_saves_within_20_seconds_leaves_no_process_and_continues(
    undisturbed: dict[str, float], home: Path, labs_process: Start
) -> None:
    process = labs_process(*TRAIN)
    wait_for(lambda: epochs_done(home) >= 10, process)
    family = psutil.Process(process.pid).children(recursive=True)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    code, _, err = finish(process)
    assert (code, time.monotonic() - start < 20) == (130, True), err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert {run.info.status for run in Store(home, None).client().search_runs(["1"])} == {"KILLED"}
    code, document, _ = finish(labs_process(*TRAIN))
    assert code == 0
    assert without_times(document["metrics"]) == undisturbed
    assert each_step_once(home, document["run_id"])


def test_the_second_interrupt_ends_at_once(home: Path, labs_process: Start) -> None:
    process = labs_process(*TRAIN)
    wait_for(lambda: epochs_done(home) >= 3, process)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_a_killed_rl_task_is_started_again_and_its_step_count_continues(home: Path, labs_process: Start) -> None:
    process = labs_process("train", "rl", "--size", "tiny", "--json", "--set", "iterations=20")
    wait_for(lambda: epochs_done(home) >= 5, process)
    hosts = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ray::host" in " ".join(child.cmdline())
    ]
    assert len(hosts) == 1
    hosts[0].kill()
    code, document, err = finish(process)
    assert code == 0, err
    steps = [event["metrics"]["train/env_steps"] for event in events.read(run_folder(home)) if "of" in event]
    assert len(steps) == 20
    assert steps == sorted(set(steps))
    assert document["metrics"]["train/env_steps"] == steps[-1]


def test_an_error_of_the_labs_own_is_not_tried_again(home: Path, labs_process: Start) -> None:
    """Both workers raise, and each sees the other go: the lab's error is what the user has to see, once."""
    process = labs_process("train", "regression", "--size", "tiny", "--workers", "2", "--set", "hidden=[-1]")
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "negative dimension -1" in err
    assert "Traceback" in (run_folder(home) / "error.txt").read_text()
