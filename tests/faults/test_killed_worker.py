"""Workers that die are started again; errors of a lab's own are not. The suite's Ray session lives on."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from labs.core import events
from pipelines import ray_train
from tests import saving
from tests.conftest import Said
from tests.faults.story import (
    SAVE_EVERY_S,
    TRAIN,
    WAIT_S,
    each_step_once,
    epochs_done,
    run_folder,
    saved,
    without_times,
)

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def processes(name: str) -> list[psutil.Process]:
    """Living workers of the suite's Ray session whose title has `name`."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill_at(moments: list[Callable[[], object]], name: str, count: int = 1) -> threading.Thread:
    """Start to wait for each moment, and kill the newest of at least `count` workers then; returns the thread."""

    def kill() -> None:
        for moment in moments:
            deadline = time.monotonic() + WAIT_S
            while not (moment() and len(processes(name)) >= count) and time.monotonic() < deadline:
                time.sleep(0.05)
            newest = max(processes(name), key=psutil.Process.create_time)
            newest.kill()
            newest.wait(10)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_train_worker_is_started_again_and_the_run_goes_on(
    undisturbed: dict[str, float], home: Path, labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """One worker dies twice, before and after a checkpoint; of two workers one dies, and takes the other with it."""
    ray_train.end_idle()  # workers that save at another interval
    monkeypatch.setattr(ray_train, "loop", saving.every(SAVE_EVERY_S))
    moments: list[Callable[[], object]] = [lambda: epochs_done(home) >= 3, lambda: saved(home)]
    killer = kill_at(moments[: 3 - workers], "RayTrainWorker", workers)
    said = labs_cli(*TRAIN, "--workers", str(workers))
    killer.join(1)
    assert not killer.is_alive()
    assert said.code == 0, said.err
    if workers == 1:
        assert without_times(said.json["metrics"]) == undisturbed
    assert each_step_once(home, said.json["run_id"])


def test_a_killed_rl_task_is_started_again_and_its_step_count_continues(home: Path, labs_cli: Cli) -> None:
    killer = kill_at([lambda: epochs_done(home) >= 5], "ray::host")
    said = labs_cli("train", "rl", "--size", "tiny", "--json", "--set", "iterations=20")
    killer.join(1)
    assert not killer.is_alive()
    assert said.code == 0, said.err
    steps = [event["metrics"]["train/env_steps"] for event in events.read(run_folder(home)) if "of" in event]
    assert len(steps) == 20
    assert steps == sorted(set(steps))
    assert said.json["metrics"]["train/env_steps"] == steps[-1]


def test_an_error_of_the_labs_own_is_not_tried_again(home: Path, labs_cli: Cli) -> None:
    """Both workers raise, and each sees the other go: the lab's error is what the user has to see, once."""
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "2", "--set", "hidden=[-1]")
    assert said.code == 1
    assert "negative dimension -1" in said.err
    assert "Traceback" in (run_folder(home) / "error.txt").read_text()


def test_a_killed_train_controller_keeps_no_cpu_and_the_run_goes_on(
    undisturbed: dict[str, float], home: Path, labs_cli: Cli
) -> None:
    """Nobody starts Ray Train's controller again, and the room of its workers was held for good."""
    import ray

    ray_train.end_idle()  # the newest controller is then this run's

    killer = kill_at([lambda: epochs_done(home) >= 3], "TrainController")
    said = labs_cli(*TRAIN)
    killer.join(1)
    assert not killer.is_alive()
    assert said.code == 0, said.err
    assert without_times(said.json["metrics"]) == undisturbed
    assert each_step_once(home, said.json["run_id"])
    ray_train.end_idle()
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
        time.sleep(0.2)  # the cluster's own bookkeeping
    assert ray.available_resources().get("CPU") == 2
