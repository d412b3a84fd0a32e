"""`labs scale`: what it measures, predicts and refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster import capacity
from pipelines.home import write_record
from pipelines.record_fields import TAGS
from pipelines.scaling.nodes import Scaled
from pipelines.scaling.results import Measured, rows
from pipelines.scaling.step_model import AllReduce, StepModel
from pipelines.show.scale import sentences
from pipelines.spec_fields import NodeResources
from tests.conftest import Said

Cli = Callable[..., Said]
KEYS = {"lab", "workers", "device", "samples_per_s", "efficiency", "step_s", "communication", "memory_mb", "run_id"}
BYTES = 4e6
LATENCY, BANDWIDTH, FIXED, COMPUTE = 1e-4, 1e9, 2e-3, 80e-3


@pytest.mark.slow
def test_a_command_measures_the_program_and_a_plain_script(
    ray_session: None, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are in the document, in the store and in a figure, and the runs are compared with no others."""
    from mlflow import MlflowClient

    scale = ("scale", "regression", "--size", "tiny", "--workers", "2", "--epochs", "2", "--set", "hidden=[8]")
    said = labs_cli(*scale, "--json")
    assert said.code == 0, said.err
    (row,) = said.json
    assert set(row) >= KEYS
    assert (row["lab"], row["workers"], row["device"], row["efficiency"]) == ("regression", 2, "cpu", 1.0)
    assert min(row[key] for key in ("samples_per_s", "step_s", "communication", "memory_mb", "torchrun_ratio")) > 0
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    run = client.get_run(row["run_id"])
    assert run.data.metrics["perf/step_s"] == row["step_s"]
    assert run.data.params["hidden"] == "[8]"
    parent = run.data.tags["mlflow.parentRunId"]
    (speed,) = client.get_metric_history(parent, "scale/samples_per_s")
    assert (speed.step, speed.value) == (2, row["samples_per_s"])
    assert [file.path for file in client.list_artifacts(parent, "figures")] == ["figures/scaling.png"]
    assert labs_cli("compare", "--json").json == []
    monkeypatch.setenv("COLUMNS", "80")
    again = labs_cli(*scale)
    assert "already finished" in again.err
    assert f"{row['samples_per_s']:,.0f}" in again.out


def step_s(workers: int) -> float:
    """The closed form of a step, for what the synthetic runs have measured."""
    return FIXED + COMPUTE / workers + all_reduce_s(workers, BYTES)


def all_reduce_s(workers: int, size: float) -> float:
    return 2 * (workers - 1) * LATENCY + 2 * (workers - 1) / workers * size / BANDWIDTH


@pytest.fixture
def synthetic(tmp_path: Path) -> Callable[..., Measured]:
    """Finished runs on some counts of workers whose steps follow the closed form, but for a factor."""

    def make(counts: tuple[int, ...], slower: dict[int, float] | None = None) -> Measured:
        scaled = Scaled(
            "cnn", "simple", "tiny", counts, {"epochs": 2}, NodeResources(workers=counts[-1], gpus_per_worker=0)
        )
        folders = {}
        for workers in counts:
            folder = folders[scaled.name(workers, "strong")] = tmp_path / "runs" / str(workers)
            seconds = step_s(workers) * (slower or {}).get(workers, 1.0)
            metrics = {
                "step_s": seconds,
                "step_cpu_s": seconds / 2,
                "samples_per_s": 64 / seconds,
                "memory_mb": 100.0,
                "gradient_bytes": BYTES,
            }
            if workers > 1:
                metrics |= {"all_reduce_s": all_reduce_s(workers, BYTES), "latency_s": all_reduce_s(workers, 0.0)}
            named = {f"perf/{name}": value for name, value in metrics.items()}
            write_run(folder, named)
        return Measured(scaled, folders)

    return make


def write_run(folder: Path, metrics: dict[str, Any]) -> None:
    data = {"digest": "d", "origin": "generated", "packed": "", "splits": {}}
    write_record(
        folder, key="k", name="n", status="FINISHED", created=0.0, seconds=1.0, error="",
        tags=dict.fromkeys(TAGS, "cnn"), lab="cnn", preset="simple", size="tiny", seed=0, config={}, data=data,
        params={"gpus_per_worker": 0.0},
    )  # fmt: skip
    (folder / "result.json").write_text(json.dumps({"metrics": metrics}))


def test_more_workers_are_predicted_by_the_closed_form(synthetic: Callable[..., Measured]) -> None:
    made = rows(synthetic((1, 2)), lambda folder: folder.name)
    assert [(row["workers"], row["measured"]) for row in made] == [
        (1, True),
        (2, True),
        *((n, False) for n in (4, 8, 16)),
    ]
    for row in made:
        assert row["step_s"] == pytest.approx(step_s(row["workers"]))
        assert row["efficiency"] == pytest.approx(step_s(1) / step_s(row["workers"]) / row["workers"])
        assert row["communication"] == pytest.approx(
            all_reduce_s(row["workers"], BYTES) / step_s(row["workers"]) if row["workers"] > 1 else 0
        )


def test_a_prediction_says_how_far_it_missed_what_was_measured(synthetic: Callable[..., Measured]) -> None:
    made = rows(synthetic((1, 2, 4), {4: 1.25}), lambda folder: folder.name)
    assert made[2]["prediction_error"] == pytest.approx(1 / 1.25 - 1)
    assert made[0]["prediction_error"] is made[1]["prediction_error"] is None
    assert any("-20% for 4" in sentence for sentence in sentences(made))
    assert "its CPU for 50% of the time only" in sentences(made)[-1]


@pytest.mark.parametrize(("few", "many"), [(1e-3, 3e-3), (4e-3, 1e-3)])
def test_no_part_of_a_predicted_step_is_negative(few: float, many: float) -> None:
    """Steps that became longer, or shorter by more than the workers are more."""
    model = StepModel.fitted({1: few, 2: many}, AllReduce(0.0, 0.0))
    assert model.step_s(2) == pytest.approx(many)
    assert 0 < model.step_s(16) <= many


def test_weak_runs_have_the_batch_of_one_worker_for_each() -> None:
    nodes = {
        node.name: node
        for node in Scaled("transformer", "simple", "tiny", (1, 2), {"epochs": 3}, NodeResources(workers=2)).nodes()
    }
    batches = {name: node.config.model_dump()["accumulation"] for name, node in nodes.items()}
    assert batches == {"transformer-1": 2, "transformer-1-torchrun": 2, "transformer-2": 2,
                       "transformer-2-torchrun": 2, "transformer-2-weak": 4}  # fmt: skip
    assert {node.config.model_dump()["epochs"] for node in nodes.values()} == {3}


def test_fields_precision_and_threads_are_those_of_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script of torchrun is measured beside as many workers as this machine has CPUs for."""
    monkeypatch.setattr("cluster.capacity.local", lambda: capacity.Resources(2))
    resources = NodeResources(workers=2, cpus_per_worker=2, gpus_per_worker=0, precision="bf16")
    nodes = Scaled("cnn", "simple", "tiny", (1, 2), {"epochs": 2, "lr": 0.5}, resources).nodes()
    assert [node.name for node in nodes] == ["cnn-1", "cnn-1-torchrun", "cnn-2", "cnn-2-weak"]
    assert {node.config.model_dump()["lr"] for node in nodes} == {0.5}
    assert {(node.resources.precision, node.resources.cpus_per_worker) for node in nodes} == {("bf16", 2)}


REFUSED = {
    "too many workers": (("cnn", "--workers", "1,9999"), "9999 CPUs, the cluster has 8"),
    "uneven batch": (("cnn", "--workers", "1,2,7"), "batch_size is 64, which can't be split evenly between 7 workers"),
    "uneven micro-batches": (
        ("transformer", "--workers", "4"),
        "accumulation is 2, which can't be split evenly between 4 workers",
    ),
    "no number": (("cnn", "--workers", "1,two"), "must be numbers from 1 on with commas between them"),
    "no worker": (("cnn", "--workers", "0,1"), "must be numbers from 1 on with commas between them"),
    "a share of two GPUs": (
        ("cnn", "--gpus-per-worker", "1.5"),
        "'--gpus-per-worker': 1.5 GPUs are neither a whole number",
    ),
    "epochs twice": (("cnn", "--set", "epochs=7"), "give the epochs of labs scale by --epochs"),
    "no such field": (("cnn", "--set", "learning=1"), "learning"),
    "another way to scale": (("rl", "--workers", "1"), "scales by its config (num_env_runners), not by workers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_measured_is_refused_before_anything_starts(
    labs_cli: Cli, home: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight_cpus = capacity.Cluster({"node": capacity.Resources(8)})
    monkeypatch.setattr("pipelines.pipeline.cluster_resources", lambda: eight_cpus)
    arguments, sentence = REFUSED[case]
    said = labs_cli("scale", *arguments)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert not list(home.glob("pipelines/*"))
