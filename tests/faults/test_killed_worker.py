"""Workers that die are started again; errors of a lab's own are not."""

from pathlib import Path

import psutil
import pytest

from labs import events
from tests.faults.story import (
    TRAIN,
    WAIT_S,
    Start,
    each_step_once,
    epochs_done,
    finish,
    run_folder,
    wait_for,
    without_times,
)

pytestmark = pytest.mark.slow


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
