"""Placement: bare, Ray Train workers and RLlib give the same numbers for a seed; workers stay together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Said

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_session")]


def trained(labs_cli: Cli, *arguments: str) -> dict[str, Any]:
    said = labs_cli("train", *arguments, "--size", "tiny", "--json")
    assert said.code == 0, said.err
    found: dict[str, Any] = said.json
    return found


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/", "system/"))}


@pytest.mark.parametrize(("lab", "preset"), [("regression", "strong"), ("cnn", "strong"), ("lifelong", "ewc")])
def test_bare_and_one_ray_worker_give_identical_metrics(labs_cli: Cli, lab: str, preset: str) -> None:
    bare = trained(labs_cli, lab, "--preset", preset, "--workers", "0", "--seed", "3")
    again = trained(labs_cli, lab, "--preset", preset, "--workers", "1", "--seed", "3", "--force")
    assert again["run_id"] != bare["run_id"]
    assert without_times(again["metrics"]) == without_times(bare["metrics"])


@pytest.mark.parametrize("lab", ["regression", "cnn", "lifelong"])
def test_two_ray_workers_train_every_sample_and_validate_exactly(labs_cli: Cli, home: Path, lab: str) -> None:
    found = trained(labs_cli, lab, "--workers", "2")
    folder = next(
        path
        for path in (home / "runs").iterdir()
        if json.loads((path / "record.json").read_text())["params"]["workers"] == 2
    )
    assert (folder / "result.json").exists()
    metric = {"regression": "mse"}.get(lab, "accuracy")
    assert f"test/{metric}" in found["metrics"]


def test_parameters_are_bit_equal_across_ranks_after_training(ray_session: None, tmp_path: Path) -> None:
    """Each rank writes its own weights: a lab's loop on two Ray Train workers, three epochs of real steps."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from labs.data import food, survey

    folders = {}
    for lab, data in (("regression", survey), ("cnn", food)):
        folders[lab] = tmp_path / lab
        (folders[lab] / "source").mkdir(parents=True)
        data.make(folders[lab] / "source", 0, "tiny")
        data.prepare(folders[lab] / "source", folders[lab], "generated")

    def loop(config: dict[str, str]) -> None:
        import torch

        import labs
        from labs.run import Run

        class Seen(Run):
            def keep(self, model: torch.nn.Module) -> None:
                super().keep(model)
                self.seen = model

        torch.set_num_threads(1)
        for name, folder in config.items():
            lab = labs.get(name)
            run = Seen(Path(folder) / "run", Path(folder), device=torch.device("cpu"))
            lab.train(lab.resolve("strong", "tiny"), run)
            torch.save(run.seen.module.state_dict(), Path(folder) / f"rank{run.rank}.pt")

    TorchTrainer(
        loop,
        train_loop_config={name: str(folder) for name, folder in folders.items()},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="ranks", storage_path=str(tmp_path)),
    ).fit()
    for folder in folders.values():
        zero, one = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
        statistics = ("running_mean", "running_var", "num_batches_tracked")  # local to a worker by nature
        assert all(torch.equal(zero[name], one[name]) for name in zero if not name.endswith(statistics))


def test_rl_runs_in_a_ray_task_with_its_own_actors_and_leaves_none(labs_cli: Cli) -> None:
    import ray
    from ray.util import placement_group_table

    found = trained(labs_cli, "rl")
    assert found["metrics"]["train/env_steps"] > 0
    assert {"test/return", "test/trivial"} <= set(found["metrics"])
    left = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
    assert not left
    assert ray.cluster_resources()["CPU"] == 2
