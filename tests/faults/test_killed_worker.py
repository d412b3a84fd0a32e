"""Workers that die are started again; errors of a lab's own are not. The suite's Ray session lives on."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

import labs
from labs.core import events
from pipelines import ray_train
from pipelines.datasets import prepared
from pipelines.fingerprint import worker_code
from pipelines.home import write_record
from pipelines.job import Job
from pipelines.ray_train import LAUNCHES, run_on_workers
from pipelines.requests import writer_lock
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
    without_times,
)
from tests.labs.workers import train_on

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]
LAB = labs.get("regression")
CONFIG = LAB.resolve("strong", "tiny", {"epochs": EPOCHS // 2, "patience": EPOCHS // 2})


def processes(name: str) -> list[psutil.Process]:
    """Living workers of the suite's Ray session whose title has `name`."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in " ".join(child.cmdline()):
                found.append(child)
    return found


def kill(
    moment: Callable[[], object], name: str, choose: Callable[[psutil.Process], bool] = psutil.Process.is_running
) -> threading.Thread:
    """Wait in a thread for the moment, and kill the newest of these workers then; returns the thread, to be joined."""

    def wait_and_kill() -> None:
        deadline = time.monotonic() + WAIT_S
        while not (moment() and any(map(choose, processes(name)))) and time.monotonic() < deadline:
            time.sleep(0.05)
        newest = max(filter(choose, processes(name)), key=psutil.Process.create_time)
        newest.kill()
        newest.wait(10)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module", autouse=True)
def saving_often(ray_session: None) -> Iterator[None]:
    """Ray Train workers of this module's own, which save twice a second."""
    ray_train.end_idle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_train, "loop", saving.every(SAVE_EVERY_S))
        yield
    ray_train.end_idle()


def test_after_a_killed_controller_the_run_goes_on_and_no_cpu_is_kept(
    undisturbed: dict[str, float], home: Path, labs_cli: Cli
) -> None:
    """Nobody starts Ray Train's controller again, and the room of its workers was held for good."""
    import ray

    killer = kill(lambda: epochs_done(home) >= 3, "TrainController")
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


def job_of_two(folder: Path, data: Path, seed: int) -> Job:
    """A job of two workers that take half of the suite's Ray."""
    write_record(folder)
    return Job(lab="regression", code=worker_code("regression"), preset="strong", size="tiny", seed=seed, workers=2,
               config=CONFIG.model_dump(), cpus_per_worker=0.5, gpus_per_worker=0, bundles=(0.5, 0.5),
               folder=folder, data=data, upstream={}, retries=1)  # fmt: skip


@pytest.fixture(scope="module")
def data(data_home: Path) -> Path:
    return prepared(data_home, LAB, "tiny", None)


@pytest.fixture(scope="module")
def two_jobs(saving_often: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Folder and outcome of two jobs of two workers each that ran at the same time; the first one lost a worker."""
    base = tmp_path_factory.mktemp("two_jobs")
    jobs = [job_of_two(base / str(seed), data, seed) for seed in (3, 4)]
    lock = writer_lock(jobs[0].folder).lock_file

    def has_first_job(worker: psutil.Process) -> bool:
        return lock in [file.path for file in worker.open_files()]

    killer = kill(lambda: steps(jobs[0].folder)[2:], "RayTrainWorker", has_first_job)
    with ThreadPoolExecutor(2) as executor:
        outcomes = list(executor.map(run_on_workers, jobs))
    killer.join(1)
    assert not killer.is_alive()
    return [(job.folder, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]


def metrics(folder: Path) -> list[dict[str, float]]:
    """What each epoch logged, without times."""
    return [without_times(event["metrics"]) for event in events.read(folder) if "of" in event]


def steps(folder: Path) -> list[int]:
    return [event["step"] for event in events.read(folder) if "of" in event]


def test_jobs_of_two_workers_each_run_at_the_same_time(two_jobs: list[tuple[Path, str]]) -> None:
    """All of them met in the same file, and those of the second job waited for ever."""
    assert [outcome for _, outcome in two_jobs] == ["FINISHED", "FINISHED"]


def test_a_killed_worker_takes_the_other_with_it_and_the_run_goes_on(two_jobs: list[tuple[Path, str]]) -> None:
    assert [len((folder / LAUNCHES).read_text().splitlines()) for folder, _ in two_jobs] == [2, 1]
    assert [steps(folder) for folder, _ in two_jobs] == [list(range(1, CONFIG.epochs + 1))] * 2


def test_workers_listen_on_loopback_alone(two_jobs: list[tuple[Path, str]]) -> None:
    """The store of PyTorch's process group was open to the network. The four workers still wait for jobs."""
    assert len(processes("RayTrainWorker")) == 4
    assert outside(listening(psutil.Process().pid)) == []


def test_two_workers_learn_as_two_plain_processes(two_jobs: list[tuple[Path, str]], data: Path, tmp_path: Path) -> None:
    zero, one = train_on(2, "regression", CONFIG, data, tmp_path / "plain")
    assert all(torch.equal(zero[name], one[name]) for name in zero)
    assert metrics(two_jobs[0][0]) == metrics(tmp_path / "plain")


def test_an_error_of_the_labs_own_is_not_tried_again(home: Path, labs_cli: Cli) -> None:
    """Both workers raise, and each sees the other go: the lab's error is what the user has to see, once."""
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "2", "--set", "hidden=[-1]")
    assert said.code == 1
    assert "negative dimension -1" in said.err
    assert (run_folder(home) / "error.txt").read_text().count("Traceback") == 1
    assert len((run_folder(home) / LAUNCHES).read_text().splitlines()) == 1


def test_a_killed_rl_task_is_started_again_its_step_count_continues_and_no_actor_is_left(
    home: Path, labs_cli: Cli
) -> None:
    """The lab runs in a Ray task with an actor of RLlib's own, which ends with it."""
    import ray
    from ray.util import placement_group_table

    killer = kill(lambda: epochs_done(home) >= 3, "ray::host")
    one_actor = ("--set", "iterations=10", "--set", "num_env_runners=1")
    said = labs_cli("train", "rl", "--size", "tiny", "--json", *one_actor)
    killer.join(1)
    assert not killer.is_alive()
    assert said.code == 0, said.err
    steps = [event["metrics"]["train/env_steps"] for event in events.read(run_folder(home)) if "of" in event]
    assert len(steps) == 10
    assert steps == sorted(set(steps))
    assert said.json["metrics"]["train/env_steps"] == steps[-1] > 0
    assert {"test/return", "test/trivial"} <= set(said.json["metrics"])
    assert [group for group in placement_group_table().values() if group["state"] == "CREATED"] == []
    assert ray.cluster_resources()["CPU"] == 2
