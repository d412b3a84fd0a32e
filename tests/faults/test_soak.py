"""Many trainings in one process, on one Ray session and on one worker: nothing accumulates. For `make faults`."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines.ray_train import end_idle
from tests.conftest import Said
from tests.faults.seeds import FAULT_SEEDS

ROUNDS, JOBS = 20, 50
SPEC = """
name: soak
nodes:
  table: {lab: regression, size: tiny}
  food: {lab: cnn, size: tiny, resources: {workers: 0}}
  small: {lab: compression, size: tiny, resources: {workers: 0}, needs: {teacher: food}}
  lander: {lab: rl, size: tiny}
"""


@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes minutes: make faults")
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("ray_session")
def test_nothing_accumulates_over_many_pipelines(labs_cli: Callable[..., Said], tmp_path: Path) -> None:
    from ray.util import placement_group_table

    (tmp_path / "soak.yaml").write_text(SPEC)
    process, measured = psutil.Process(), []
    for number in range(ROUNDS):
        said = labs_cli("pipeline", "run", tmp_path / "soak.yaml", "--force")
        assert said.code == 0, said.err
        measured.append(
            {
                "open files": process.num_fds(),
                "threads": process.num_threads(),
                "processes": len(process.children(recursive=True)),
                "megabytes": process.memory_info().rss / 1e6,
                "temporary files": len(list(Path(tempfile.gettempdir()).glob("labs-*"))),
            }
        )
        print(number, measured[-1])
    end_idle()
    deadline = time.monotonic() + 20
    while held := [group for group in placement_group_table().values() if group["state"] == "CREATED"]:
        assert time.monotonic() < deadline, held
        time.sleep(0.2)
    half = measured[ROUNDS // 2]  # what is loaded once, is loaded by then
    for name, limit in (("open files", 10), ("threads", 10), ("processes", 2), ("temporary files", 0)):
        assert measured[-1][name] - half[name] <= limit, name
    assert measured[-1]["megabytes"] < 1.1 * half["megabytes"]


@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes minutes: make faults")
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("free_cpus")
def test_nothing_accumulates_in_a_worker_that_stays_for_many_jobs(labs_cli: Callable[..., Said]) -> None:
    """Of two labs in turn, so that each finds what another one has left."""
    measured, workers = [], set()
    for seed in range(JOBS):
        lab = ("regression", "classification")[seed % 2]
        said = labs_cli("train", lab, "--size", "tiny", "--seed", str(seed))
        assert said.code == 0, said.err
        (worker,) = (child for child in psutil.Process().children(recursive=True) if "RayTrain" in child.name())
        workers.add(worker.pid)
        with worker.oneshot():
            figures = (worker.num_fds(), worker.num_threads(), worker.memory_info().rss / 1e6)
        measured.append(dict(zip(("open files", "threads", "megabytes"), figures, strict=True)))
        print(seed, measured[-1])
    assert len(workers) == 1
    early, late = measured[JOBS // 5], measured[-1]
    assert late["open files"] - early["open files"] <= 2
    assert late["threads"] - early["threads"] <= 2
    assert late["megabytes"] < 1.1 * early["megabytes"]
