"""Placement: bare, on Ray Train workers and on a node without the home, a run leaves the same for a seed."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import yaml

from pipelines import home_files
from tests.conftest import Said

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/", "system/"))}


PRESETS = {"cnn": "strong", "lifelong": "ewc", "meta": "strong"}
SHORT = {"cnn": {"epochs": 1}, "lifelong": {"epochs_per_task": 1}, "meta": {"epochs": 1}}


def test_numbers_are_the_same_bare_and_after_any_other_lab_in_the_same_process(
    labs_cli: Cli, home: Path, tmp_path: Path
) -> None:
    """Bare in one order; then in the other order on a Ray Train worker that stays for all of them."""
    bare = {"size": "tiny", "seeds": [3], "resources": {"workers": 0}}
    nodes = {lab: {"lab": lab, "preset": preset, "overrides": SHORT[lab], **bare} for lab, preset in PRESETS.items()}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"name": "placed", "nodes": nodes}))
    said = labs_cli("pipeline", "run", tmp_path / "spec.yaml", "--json")
    assert said.code == 0, said.err
    results = {node["lab"]: Path(node["folder"]) / "result.json" for node in said.json["nodes"]}
    expected = {lab: without_times(json.loads(file.read_text())["metrics"]) for lab, file in results.items()}
    for lab in reversed(PRESETS):
        arguments = ("train", lab, "--preset", PRESETS[lab], "--size", "tiny", "--seed", "3", "--workers", "1")
        ((field, value),) = SHORT[lab].items()
        said = labs_cli(*arguments, "--set", f"{field}={value}", "--force", "--json")
        assert said.code == 0, said.err
        assert without_times(said.json["metrics"]) == expected[lab], lab
    assert len({file.read_text() for file in home.glob("runs/*/placement_group")}) == 1
    assert len(list(home.glob("runs/*/launches"))) == 1  # what a plan counts for them


def all_files(folder: Path) -> set[str]:
    """Files of a run's folder, except locks, and what MLflow's mirror and the driver keep there."""
    own = (
        ".validate",
        "mirror",
        "driver",
        "writer.lock",
        "placement_group",
        "launches",
        "record",
        "environment",
    )
    return {name for name in home_files.sizes(folder) if not name.startswith(own)}


@pytest.fixture
def node_without_home() -> Iterator[None]:
    """This machine's own node, taken for one that does not see the home. A real one is in
    `tests/faults/test_machines.py`."""
    import ray

    home_files.serve([ray.get_runtime_context().get_node_id()])
    yield
    ray.kill(home_files.find())


@pytest.mark.usefixtures("node_without_home")
def test_a_run_and_a_sweep_on_a_node_without_the_home_leave_what_they_leave_anywhere(
    labs_cli: Cli, cache: Path, home: Path
) -> None:
    """On the worker of the test before, if there was one."""
    arguments = ("train", "cnn", "--size", "tiny", "--seed", "5", "--json")
    bare = labs_cli(*arguments, "--workers", "0")
    said = labs_cli(*arguments, "--force")
    assert said.code == 0, said.err
    assert without_times(said.json["metrics"]) == without_times(bare.json["metrics"])
    one, other = home.glob("runs/cnn-*")
    assert all_files(one) == all_files(other)
    assert len(list((cache / "labs" / "data" / "cnn").glob("*/manifest.json"))) == 1
    tuned = labs_cli("tune", "regression", "--size", "tiny", "--trials", "1", "--json")
    assert tuned.code == 0, tuned.err
    assert tuned.json["best"]["metrics"]
    assert len(list((cache / "labs" / "data" / "regression").glob("*/manifest.json"))) == 1
    assert not list((cache / "labs" / "runs").iterdir())


def test_what_two_processes_free_at_once_is_freed_once(tmp_path: Path) -> None:
    """As at the end of a sweep whose last trial has lost its workers."""
    import ray
    from ray.util.placement_group import placement_group, placement_group_table

    from pipelines.ray_train import PLACEMENT_GROUP, release_placement_group

    group = placement_group([{"CPU": 0.01}])
    ray.get(group.ready(), timeout=60)
    (tmp_path / PLACEMENT_GROUP).write_text(group.id.hex())
    start = Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        for freed in [threads.submit(lambda: (start.wait(), release_placement_group(tmp_path))) for _ in range(8)]:
            freed.result()
    assert not (tmp_path / PLACEMENT_GROUP).exists()
    assert placement_group_table(group)["state"] == "REMOVED"
