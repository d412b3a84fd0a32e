"""Several commands on one home at once: what they share is trained once, and each ends with all of its own."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Said
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import Start, finish

pytestmark = pytest.mark.slow
NODE = "{lab: regression, size: tiny, resources: {workers: 0}"


@pytest.mark.parametrize("seed", FAULT_SEEDS)
def test_two_pipelines_on_one_home_share_what_is_the_same(
    home: Path, labs_cli: Callable[..., Said], labs_process: Start, tmp_path: Path, seed: int
) -> None:
    """One command in a process of its own, and the other one in this process."""
    specs = [tmp_path / "left.yaml", tmp_path / "right.yaml"]
    for spec in specs:
        name = spec.stem
        shared = f"  shared: {NODE}, overrides: {{epochs: 60, patience: 60}}}}\n"
        spec.write_text(f"name: {name}\nnodes:\n{shared}  {name}: {NODE}, preset: strong, needs: {{x: shared}}}}\n")
    process = labs_process("pipeline", "run", specs[0], "--json")
    time.sleep(random.Random(seed).uniform(0.0, 3.0))
    right = labs_cli("pipeline", "run", specs[1], "--json")
    code, left, err = finish(process)
    assert (code, right.code) == (0, 0), err + right.err
    documents = [{node["name"]: node for node in document["nodes"]} for document in (left, right.json)]
    assert documents[0]["shared"]["run_id"] == documents[1]["shared"]["run_id"]
    assert sorted(documents[number]["shared"]["reused"] for number in (0, 1)) == [False, True]
    assert len(list((home / "runs").glob("regression-simple-*"))) == 1
