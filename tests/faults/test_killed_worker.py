"""Workers that die are started again; errors of a lab's own are not. The suite's Ray session lives on."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

import labs
from labs.core import events
from pipelines import ray_train
from pipelines.datasets import prepared
from tests import saving
from tests.cluster.test_listening import listening, outside
from tests.conftest import Said
from tests.faults.story import (
    EPOCHS,
    SAVE_EVERY_S,
    TRAIN,
    WAIT_S,
    each_step_once,
    epochs_done,
    run_folder,
    saved,
    without_times,
)
from tests.labs.workers import train_on

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


def kill(moment: Callable[[], object], name: str) -> threading.Thread:
    """Wait in a thread for the moment, and kill the newest of these workers then; returns the thread, to be joined."""

    def wait_and_kill() -> None:
        deadline = time.monotonic() + WAIT_S
        while not (moment() and processes(name)) and time.monotonic() < deadline:
            time.sleep(0.05)
        newest = max(processes(name), key=psutil.Process.create_time)
        newest.kill()
        newest.wait(10)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def saving_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """New Ray Train workers, which save each second."""
    ray_train.end_idle()
    monkeypatch.setattr(ray_train, "loop", saving.every(SAVE_EVERY_S))


@pytest.mark.usefixtures("saving_often")
def test_after_a_killed_controller_and_a_killed_worker_the_run_goes_on_and_no_cpu_is_kept(
    undisturbed: dict[str, float], home: Path, labs_cli: Cli
) -> None:
    """Nobody starts Ray Train's controller again, and the room of its workers was held for good."""
    import ray

    # The worker is that of a new controller: the old one's end within a second, some 30 epochs.
    late = EPOCHS // 2
    killers = [
        kill(lambda: epochs_done(home) >= 3, "TrainController"),
        kill(lambda: epochs_done(home) >= late and saved(home), "RayTrainWorker"),
    ]
    said = labs_cli(*TRAIN)
    for killer in killers:
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


@pytest.mark.usefixtures("saving_often")
def test_a_killed_worker_takes_the_other_with_it_and_the_run_goes_on(home: Path, labs_cli: Cli) -> None:
    killer = kill(lambda: epochs_done(home) >= 3, "RayTrainWorker")
    said = labs_cli(*TRAIN, "--workers", "2", "--set", "epochs=40")
    killer.join(1)
    assert not killer.is_alive()
    assert said.code == 0, said.err
    assert each_step_once(home, said.json["run_id"])


def test_two_workers_listen_on_loopback_alone_and_learn_as_two_plain_processes(
    labs_cli: Cli, home: Path, data_home: Path, tmp_path: Path
) -> None:
    """The store of PyTorch's process group was open to the network. Here the workers of the test before still wait."""
    preset = ("--preset", "strong", "--size", "tiny")
    assert labs_cli("train", "regression", *preset, "--seed", "3", "--workers", "2").code == 0
    assert outside(listening(psutil.Process().pid)) == []
    lab, plain = labs.get("regression"), tmp_path / "plain"
    zero, one = train_on(2, "regression", lab.resolve("strong", "tiny"), prepared(data_home, lab, "tiny", None), plain)
    assert all(torch.equal(zero[name], one[name]) for name in zero)
    on_ray = [event["metrics"] for event in events.read(run_folder(home)) if "of" in event]
    plainly = [event["metrics"] for event in events.read(plain) if "of" in event]
    assert [without_times(metrics) for metrics in on_ray] == [without_times(metrics) for metrics in plainly]


def test_an_error_of_the_labs_own_is_not_tried_again(home: Path, labs_cli: Cli) -> None:
    """Both workers raise, and each sees the other go: the lab's error is what the user has to see, once."""
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "2", "--set", "hidden=[-1]")
    assert said.code == 1
    assert "negative dimension -1" in said.err
    assert "Traceback" in (run_folder(home) / "error.txt").read_text()


def test_a_killed_rl_task_is_started_again_and_its_step_count_continues(home: Path, labs_cli: Cli) -> None:
    killer = kill(lambda: epochs_done(home) >= 3, "ray::host")
    said = labs_cli("train", "rl", "--size", "tiny", "--json", "--set", "iterations=10")
    killer.join(1)
    assert not killer.is_alive()
    assert said.code == 0, said.err
    steps = [event["metrics"]["train/env_steps"] for event in events.read(run_folder(home)) if "of" in event]
    assert len(steps) == 10
    assert steps == sorted(set(steps))
    assert said.json["metrics"]["train/env_steps"] == steps[-1]
