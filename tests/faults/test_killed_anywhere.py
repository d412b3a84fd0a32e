"""A bare run whose process dies at a random moment: the same command ends with the numbers of an undisturbed run."""

import random
import time
from pathlib import Path

import pytest

from pipelines.tracking.writer import Store
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import TRAIN, Start, each_step_once, finish, without_times

pytestmark = pytest.mark.slow
LONGEST_S = 15.0
"""From the start of the process to its end takes about so long."""


@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_a_process_killed_at_a_random_moment_loses_nothing(
    undisturbed: dict[str, float], home: Path, labs_process: Start, seed: int
) -> None:
    process = labs_process(*TRAIN, "--workers", "0")
    time.sleep(random.Random(seed).uniform(0.0, LONGEST_S))
    process.kill()
    process.wait()
    code, document, err = finish(labs_process(*TRAIN, "--workers", "0"))
    assert code == 0, err
    assert without_times(document["metrics"]) == undisturbed
    assert len(list((home / "runs").glob("regression-*"))) == 1
    store = Store(home, None)
    assert [run.info.status for run in store.client().search_runs([store.experiment])] == ["FINISHED", "FINISHED"]
    assert each_step_once(home, document["run_id"])
