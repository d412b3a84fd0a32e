"""A node of a cluster that dies, and its head: the run goes on elsewhere, or the same command continues it later."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.tracking.writer import Store
from tests.conftest import said
from tests.faults.nodes import HEAD, NODES, Nodes
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import (
    EPOCHS,
    OFTEN,
    TRAIN,
    WAIT_S,
    Start,
    each_step_once,
    epochs_done,
    finish,
    wait_for,
    without_times,
)

pytestmark = pytest.mark.slow
LOST_WITHIN_S = 30.0
"""From the death of the head to the end of a command that is as impatient as `tests.saving`."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A cluster without nodes, which commands join as soon as it has one."""
    nodes = Nodes(monkeypatch)
    yield nodes
    nodes.end()


def check_as_undisturbed(home: Path, document: dict[str, object], undisturbed: dict[str, float]) -> None:
    """The numbers of a run to which nothing happened, one run in the home and in the store, each epoch once."""
    assert without_times(document["metrics"]) == undisturbed  # type: ignore[arg-type]
    assert len(list((home / "runs").iterdir())) == 1
    store = Store(home, None)
    assert [run.info.status for run in store.client().search_runs([store.experiment])] == ["FINISHED"]
    assert each_step_once(home, str(document["run_id"]))


@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_a_killed_head_ends_the_command_and_the_same_one_continues(
    undisturbed: dict[str, float],
    cluster: Nodes,
    home: Path,
    labs_process: Start,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """Ray ended the process after a minute: no word of what to do, the pipeline RUNNING in every list."""
    cluster.start(HEAD)
    process = labs_process(*TRAIN, before=OFTEN)
    epochs = random.Random(seed).randint(1, EPOCHS // 2)
    wait_for(lambda: epochs_done(home) >= epochs, process)
    cluster.kill(HEAD)
    killed = time.monotonic()
    code, document, err = finish(process)
    assert time.monotonic() - killed < LOST_WITHIN_S, err
    assert (code, document["status"]) == (1, "KILLED"), err
    message = " ".join(err.split())
    assert f"the head node of the cluster at {cluster.address} has not answered for" in message
    assert "when the cluster runs again, the same command continues" in message
    assert "Traceback" not in err
    store = Store(home, None)
    assert "RUNNING" not in {run.info.status for run in store.client().search_runs([store.experiment])}

    if len(FAULT_SEEDS) > 1:
        cluster.start(HEAD)  # at another port
        code, document, err = finish(labs_process(*TRAIN))
        assert code == 0, err
    else:
        monkeypatch.delenv("RAY_ADDRESS")
        document = said(*TRAIN, "--workers", "0", "--home", home).json
    check_as_undisturbed(home, document, undisturbed)


@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes a minute: make faults")
def test_a_killed_head_ends_a_sweep_and_the_same_command_continues_it(
    cluster: Nodes, home: Path, labs_process: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = (
        "tune",
        *TRAIN[1:-4],
        "--fix",
        f"patience={EPOCHS}",
        "--set",
        f"epochs={EPOCHS}",
        "--trials",
        "2",
        "--scheduler",
        "none",
    )
    cluster.start(HEAD)
    process = labs_process(*tune, before=OFTEN)
    wait_for(lambda: list(home.glob("sweeps/*/trials/*/events.jsonl")), process)
    cluster.kill(HEAD)
    killed = time.monotonic()
    code, _, err = finish(process)
    assert time.monotonic() - killed < LOST_WITHIN_S, err
    assert code == 1, err
    assert f"the head node of the cluster at {cluster.address} has not answered for" in " ".join(err.split())
    assert "Traceback" not in err
    monkeypatch.delenv("RAY_ADDRESS")
    code, document, err = finish(labs_process(*tune))
    assert code == 0, err
    assert [trial["status"] for trial in document["trials"]] == ["FINISHED"] * 2


@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes a minute: make faults")
@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_a_killed_node_is_replaced_by_another_one_while_the_command_runs(
    undisturbed: dict[str, float], cluster: Nodes, home: Path, labs_process: Start, seed: int
) -> None:
    cluster.start(HEAD, cpus=0)
    cluster.start(NODES[0])
    process = labs_process(*TRAIN, before=OFTEN)
    epochs = random.Random(seed).randint(1, EPOCHS // 2)
    wait_for(lambda: epochs_done(home) >= epochs, process)
    cluster.kill_raylet(NODES[0])
    cluster.start(NODES[1])
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    check_as_undisturbed(home, json.loads(out), undisturbed)
