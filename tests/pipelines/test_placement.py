"""Placement: bare, Ray Train workers and RLlib give the same numbers for a seed; workers stay together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import labs
from pipelines import datasets
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


@pytest.mark.usefixtures("free_cpus")
def test_parameters_are_bit_equal_across_ranks_after_training(data_home: Path, tmp_path: Path) -> None:
    """Each rank writes its own weights: the labs' loops on two Ray Train workers, epochs of real steps."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    presets = dict.fromkeys(("regression", "classification", "self-attention"), "boss")
    presets |= {"cnn": "strong", "lifelong": "ewc"}
    data = {lab: str(datasets.prepared(data_home, labs.get(lab), "tiny", None)) for lab in presets}

    def loop(config: dict[str, str]) -> None:
        import torch

        import labs
        from labs.core.run import Run
        from labs.core.weights import unwrap

        class Seen(Run):
            def keep(self, model: torch.nn.Module) -> None:
                super().keep(model)
                self.seen = model

        torch.set_num_threads(1)
        for name, preset in presets.items():
            lab, folder = labs.get(name), tmp_path / name
            run = Seen(folder, Path(config[name]), device=torch.device("cpu"))
            lab.train(lab.resolve(preset, "tiny"), run)
            torch.save(unwrap(run.seen).state_dict(), folder / f"rank{run.rank}.pt")

    TorchTrainer(
        loop,
        train_loop_config=data,
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="ranks", storage_path=str(tmp_path)),
    ).fit()
    for name in presets:
        zero, one = (torch.load(tmp_path / name / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
        statistics = ("running_mean", "running_var", "num_batches_tracked")  # local to a worker by nature
        assert all(torch.equal(zero[name], one[name]) for name in zero if not name.endswith(statistics))


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
