"""A driver that dies: the same command ends with the numbers of an undisturbed run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.tracking import Store
from tests.faults.story import TRAIN, Start, each_step_once, epochs_done, finish, wait_for, without_times

pytestmark = pytest.mark.slow


def test_a_driver_killed_at_several_moments_ends_like_an_undisturbed_one(
    undisturbed: dict[str, float], home: Path, labs_process: Start
) -> None:
    moments: list[Callable[[], object]] = [
        lambda: epochs_done(home) >= 5,
        lambda: list((home / "runs").glob("*/checkpoints/step-*")),
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
