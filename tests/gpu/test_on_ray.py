"""Nodes, trials and RLlib on a GPU of a Ray cluster, by the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Said

Cli = Callable[..., Said]
pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_worker_takes_a_gpu_without_being_asked_to_and_shows_its_load(labs_cli: Cli, home: Path) -> None:
    """One worker, whose process group is NCCL's."""
    import mlflow

    said = labs_cli("train", "cnn", "--size", "tiny", "--json")
    assert said.code == 0, said.err
    run = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(said.json["run_id"])
    assert float(run.data.params["gpus_per_worker"]) == 1
    assert run.data.metrics["machine/gpu_0_memory_usage_megabytes"] > 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU: NCCL joins workers on several only")
@pytest.mark.parametrize("lab", ["cnn", "gan", "meta", "transformer", "bert-pretrain"])
def test_two_workers_train_on_two_gpus(labs_cli: Cli, lab: str) -> None:
    said = labs_cli("train", lab, "--size", "tiny", "--workers", "2", "--json")
    assert said.code == 0, said.err
    assert said.json["status"] == "FINISHED"


def test_two_trials_share_a_gpu(labs_cli: Cli) -> None:
    said = labs_cli("tune", "regression", "--size", "tiny", "--trials", "3", "--gpus-per-worker", "0.5", "--json")
    assert said.code == 0, said.err
    assert {trial["status"] for trial in said.json["trials"]} <= {"FINISHED", "PRUNED"}


def test_rl_learns_on_a_gpu_where_it_is_asked_to(labs_cli: Cli) -> None:
    said = labs_cli("train", "rl", "--size", "tiny", "--gpus-per-worker", "1", "--json")
    assert said.code == 0, said.err


@pytest.mark.parametrize("options", [("--precision", "fp16"), ("--precision", "bf16", "--compile")])
def test_precision_and_compilation_are_options_of_a_command(labs_cli: Cli, options: tuple[str, ...]) -> None:
    said = labs_cli("train", "self-attention", "--size", "tiny", "--json", *options)
    assert said.code == 0, said.err
