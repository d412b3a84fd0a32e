"""A bare run whose process dies at a random moment: the same command ends with the numbers of an undisturbed run."""

import random
import time
from pathlib import Path

import pytest

from pipelines.tracking.writer import Store
from tests.conftest import said
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import TRAIN, Start, each_step_once, without_times

pytestmark = pytest.mark.slow
LONGEST_S = 6.0
"""From the start of the process to its end takes about so long."""


@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_a_process_killed_at_a_random_moment_loses_nothing(
    undisturbed: dict[str, float], home: Path, labs_process: Start, seed: int
) -> None:
    process = labs_process(*TRAIN, "--workers", "0")
    time.sleep(random.Random(seed).uniform(0.0, LONGEST_S))
    process.kill()
    process.wait()
    continued = said(*TRAIN, "--workers", "0", "--home", home)
    assert continued.code == 0, continued.err
    assert without_times(continued.json["metrics"]) == undisturbed
    assert len(list((home / "runs").glob("regression-*"))) == 1
    store = Store(home, None)
    assert [run.info.status for run in store.client().search_runs([store.experiment])] == ["FINISHED"]
    assert each_step_once(home, continued.json["run_id"])
