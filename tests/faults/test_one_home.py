"""Several commands on one home at once: what they share is trained once, and each ends with all of its own."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import Start, finish

pytestmark = pytest.mark.slow
NODE = "{lab: regression, size: tiny, resources: {workers: 0}"


@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_two_pipelines_on_one_home_share_what_is_the_same(
    home: Path, labs_cli: Callable[..., object], labs_process: Start, tmp_path: Path, seed: int
) -> None:
    started = []
    for name in ("left", "right"):
        spec = tmp_path / f"{name}.yaml"
        shared = f"  shared: {NODE}, overrides: {{epochs: 60, patience: 60}}}}\n"
        spec.write_text(f"name: {name}\nnodes:\n{shared}  {name}: {NODE}, preset: strong, needs: {{x: shared}}}}\n")
        started.append(labs_process("pipeline", "run", spec, "--json"))
        time.sleep(random.Random(seed).uniform(0.0, 3.0))
    documents = []
    for process in started:
        code, document, err = finish(process)
        assert code == 0, err
        documents.append({node["name"]: node for node in document["nodes"]})
    assert documents[0]["shared"]["run_id"] == documents[1]["shared"]["run_id"]
    assert sorted(documents[number]["shared"]["reused"] for number in (0, 1)) == [False, True]
    assert len(list((home / "runs").glob("regression-simple-*"))) == 1
