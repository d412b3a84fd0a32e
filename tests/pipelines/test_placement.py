"""Placement: bare, Ray Train workers and RLlib give the same numbers for a seed; workers stay together."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import labs
from pipelines.datasets import prepared
from pipelines.fingerprint import worker_code
from pipelines.home import write_record
from pipelines.job import Job
from pipelines.ray_train import run_on_workers
from tests.conftest import Said

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/", "system/"))}


PRESETS = {"cnn": "strong", "lifelong": "ewc", "gan": "medium"}


def test_numbers_are_the_same_bare_and_after_any_other_lab_in_the_same_process(
    labs_cli: Cli, home: Path, tmp_path: Path
) -> None:
    """Bare in one order; then in the other order on a Ray Train worker that stays for all of them."""
    bare = {"size": "tiny", "seeds": [3], "resources": {"workers": 0}}
    nodes = {lab: {"lab": lab, "preset": preset, **bare} for lab, preset in PRESETS.items()}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"name": "placed", "nodes": nodes}))
    said = labs_cli("pipeline", "run", tmp_path / "spec.yaml", "--json")
    assert said.code == 0, said.err
    results = {node["lab"]: Path(node["folder"]) / "result.json" for node in said.json["nodes"]}
    expected = {lab: without_times(json.loads(file.read_text())["metrics"]) for lab, file in results.items()}
    for lab in reversed(PRESETS):
        arguments = ("train", lab, "--preset", PRESETS[lab], "--size", "tiny", "--seed", "3", "--workers", "1")
        said = labs_cli(*arguments, "--force", "--json")
        assert said.code == 0, said.err
        assert without_times(said.json["metrics"]) == expected[lab], lab
    assert len({file.read_text() for file in home.glob("runs/*/placement_group")}) == 1
    assert len(list(home.glob("runs/*/launches"))) == 1  # what a plan counts for them


def test_jobs_of_two_workers_each_run_at_the_same_time(free_cpus: None, data_home: Path, tmp_path: Path) -> None:
    """All of them met in the same file, and those of the second job waited for ever."""
    jobs = [
        Job(lab="regression", code=worker_code("regression"), preset="simple", size="tiny", config={"epochs": 1},
            seed=seed, workers=2, cpus_per_worker=0.5, gpus_per_worker=0, bundles=(0.5, 0.5),
            folder=tmp_path / str(seed), data=prepared(data_home, labs.get("regression"), "tiny", None), upstream={},
            retries=0)
        for seed in (1, 2)
    ]  # fmt: skip
    for job in jobs:
        write_record(job.folder)
    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(run_on_workers, jobs)) == ["FINISHED", "FINISHED"]


def test_rl_runs_in_a_ray_task_with_its_own_actors_and_leaves_none(labs_cli: Cli) -> None:
    import ray
    from ray.util import placement_group_table

    said = labs_cli("train", "rl", "--size", "tiny", "--json")
    assert said.code == 0, said.err
    assert said.json["metrics"]["train/env_steps"] > 0
    assert {"test/return", "test/trivial"} <= set(said.json["metrics"])
    left = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
    assert not left
    assert ray.cluster_resources()["CPU"] == 2
