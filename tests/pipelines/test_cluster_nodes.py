"""What a pipeline asks of a cluster's nodes, and which of them are there: clusters of numbers, without Ray."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest

import labs
from cluster import capacity, connect
from cluster.capacity import Cluster, Resources
from cluster.errors import ClusterError
from pipelines.spec import read_spec
from tests.conftest import Said

Cli = Callable[..., Said]
TINY = "lab: regression, size: tiny"


@pytest.fixture(autouse=True)
def head_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clusters of these tests have no head node that could be asked."""
    monkeypatch.setattr(connect.Lifeline, "holds", lambda self: True)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces this machine by a cluster of some nodes."""

    def are(*each: Resources) -> None:
        cluster = Cluster({f"n{i}": node for i, node in enumerate(each)})
        monkeypatch.setattr(capacity, "total", lambda: cluster)

    return are


def spec_of(tmp_path: Path, *each: str) -> Path:
    spec = tmp_path / "spec.yaml"
    spec.write_text("\n".join(["name: test", "nodes:", *(f"  {node}" for node in each)]) + "\n")
    return spec


def test_a_worker_that_no_node_has_room_for_is_refused_before_anything_starts(
    labs_cli: Cli, nodes: Callable[..., None], tmp_path: Path
) -> None:
    """The sum would do: three CPUs for two. It waited for ever."""
    nodes(Resources(1), Resources(1), Resources(1))
    said = labs_cli("pipeline", "run", spec_of(tmp_path, f"cnn: {{{TINY}, resources: {{cpus_per_worker: 2}}}}"))
    assert said.code == 2
    assert said.err.splitlines()[-1] == (
        "error: node cnn (lab regression) with 1 worker needs 1 times 2 CPUs, each time on one node; "
        "the cluster has 3 nodes of 1 CPU"
    )


def test_more_workers_than_gpus_do_not_train_on_cpus_unasked(labs_cli: Cli, nodes: Callable[..., None]) -> None:
    nodes(Resources(16, 4))
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "8")
    assert said.code == 2
    assert said.err.splitlines()[-1] == (
        "error: node regression (lab regression) with 8 workers needs 8 GPUs, the cluster has 4 in all: "
        "take fewer workers, or train on CPUs with --gpus-per-worker 0 (in a spec gpus_per_worker: 0)"
    )


def test_a_fraction_of_a_gpu_lies_on_one_gpu(labs_cli: Cli, nodes: Callable[..., None]) -> None:
    """1.8 GPUs of two: the third worker waited for ever."""
    nodes(Resources(16, 2))
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "3", "--gpus-per-worker", "0.6")
    assert said.code == 2
    assert "with 3 workers needs 3 GPUs, the cluster has 2 in all" in said.err


@pytest.mark.parametrize(
    ("gpus", "asked", "needed"),
    [
        (0.0, "", 0.0),
        (4.0, ", gpus_per_worker: 0", 0.0),
        (8.0, "", 8.0),
        (8.0, ", gpus_per_worker: 0.6", 8.0),  # each on a GPU of its own
    ],
)
def test_one_gpu_a_worker_is_the_default_where_there_are_gpus(
    labs_cli: Cli, nodes: Callable[..., None], tmp_path: Path, gpus: float, asked: str, needed: float
) -> None:
    nodes(Resources(16, gpus))
    spec = spec_of(tmp_path, f"many: {{{TINY}, resources: {{workers: 8{asked}}}}}")
    plan = labs_cli("pipeline", "plan", spec, "--json").json
    assert [node["resources"] for node in plan["nodes"]] == [{"cpus": 8.0, "gpus": needed}]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--workers", "2", "--gpus-per-worker", "0.5"), "2 workers with 0.5 GPU each would share a GPU"),
        (("--precision", "bf16", "--gpus-per-worker", "0"), "precision bf16 needs a GPU for each worker; CPUs have"),
        (("--precision", "half"), "'half' is not one of"),
    ],
)
def test_what_no_gpu_can_do_is_refused_before_anything_starts(
    labs_cli: Cli, nodes: Callable[..., None], options: tuple[str, ...], sentence: str
) -> None:
    nodes(Resources(16, 2))
    said = labs_cli("train", "regression", "--size", "tiny", *options)
    assert said.code == 2
    assert sentence in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("lab", "field", "workers"),
    [("transformer", "accumulation", 3), ("meta", "meta_batch", 3), ("cnn", "batch_size", 48)],
)
def test_a_batch_that_workers_cannot_split_is_refused_before_anything_starts(
    labs_cli: Cli, nodes: Callable[..., None], lab: str, field: str, workers: int
) -> None:
    """Each lab splits a field of its own; the transformer's began, and then failed in every worker."""
    nodes(Resources(64))
    said = labs_cli("train", lab, "--size", "tiny", "--workers", workers)
    assert said.code == 2
    assert f"{field} is " in said.err
    assert f"can't be split evenly between {workers} workers: take {workers}" in " ".join(said.err.split())


def test_the_learning_rate_grows_with_the_batch_of_all_workers(tmp_path: Path) -> None:
    plain = labs.get("cnn").resolve("simple", "tiny")
    spec = spec_of(tmp_path, "cnn: {lab: cnn, size: tiny, batch_per_worker: 8, resources: {workers: 8}}")
    (node,) = read_spec(spec)[1]
    assert node.config.batch_size == 64
    assert node.config.lr == pytest.approx(plain.lr * 64 / plain.batch_size)
    assert node.warm_up_from == pytest.approx(plain.batch_size / 64)


def test_as_many_trials_run_at_a_time_as_the_nodes_hold(
    labs_cli: Cli, nodes: Callable[..., None], tmp_path: Path
) -> None:
    """Two nodes of three CPUs hold two trials of two CPUs; their sum would hold three."""
    nodes(Resources(3), Resources(3))
    spec = spec_of(tmp_path, f"table: {{{TINY}, tune: {{trials: 9}}, resources: {{cpus_per_worker: 2}}}}")
    plan = labs_cli("pipeline", "plan", spec, "--json").json
    assert [node["resources"]["cpus"] for node in plan["nodes"]] == [4.0, 2.0]


@pytest.mark.parametrize("lacking", [False, True])
def test_a_node_that_joins_the_cluster_is_used_and_one_that_leaves_is_said(
    labs_cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: bool
) -> None:
    """A dead machine, or one behind a cut line, was silent; one that does not see the home folder was not used."""
    from pipelines import changing_cluster, execution, home_files, shared_home

    joined, train = threading.Event(), execution.run_job
    both, served = threading.Barrier(2, joined.clear), set[str]()

    def total() -> Cluster:
        second = {"second": Resources(1)} if joined.is_set() else {}
        return Cluster({"first": Resources(1), **second}, {"second": "10.0.0.7"})

    def run_job(job: Any) -> Any:
        joined.set()
        both.wait(timeout=10)  # two jobs at a time, or an error
        time.sleep(0.3)
        return train(job)

    monkeypatch.setattr(capacity, "total", total)
    monkeypatch.setattr(capacity, "is_connected", lambda: True)
    monkeypatch.setattr(changing_cluster, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(shared_home, "ask", lambda home, nodes: ({*nodes} if lacking else set(), set()))
    monkeypatch.setattr(home_files, "serve", served.update)
    monkeypatch.setattr(execution, "run_job", run_job)
    bare = f"{{{TINY}, resources: {{workers: 0}}, seeds: [1, 2]}}"
    said = labs_cli("pipeline", "run", spec_of(tmp_path, f"two: {bare}"), "--json")
    assert said.code == 0, said.err
    assert "the cluster now has 2 nodes, 2 CPUs: node 10.0.0.7 joined\n" in said.err
    assert "the cluster now has 1 node, 1 CPU: node 10.0.0.7 left\n" in said.err
    assert served == ({"second"} if lacking else set())
    assert (f"no home folder {home} on 10.0.0.7: data go there, and results come from there" in said.err) == lacking


def test_a_worker_that_does_not_see_the_run_s_folder_begins_nothing(tmp_path: Path) -> None:
    """It made the folder on its own disk, and trained there."""
    from pipelines.execution import run_job
    from pipelines.job import Job

    folder = tmp_path / "home" / "runs" / "cnn"
    what = {
        "lab": "regression",
        "preset": "simple",
        "size": "tiny",
        "config": {},
        "seed": 0,
        "upstream": {},
        "code": "",
    }
    job = Job(**what, workers=0, cpus_per_worker=1, gpus_per_worker=0, folder=folder, data=tmp_path, retries=0,
              bundles=[1.0])  # fmt: skip
    with pytest.raises(ClusterError, match=rf"folder {folder} is not there on {gethostname()}: if"):
        run_job(job)
    assert not list(tmp_path.iterdir())


def test_a_worker_whose_code_is_not_the_driver_s_refuses_and_names_its_node(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an old package on a node had learnt was kept as the work of the driver's code."""
    monkeypatch.setattr("pipelines.node.worker_code", lambda lab: "newer")
    said = labs_cli("train", "regression", "--size", "tiny", "--workers", "0")
    assert said.code == 1
    assert f"the packages labs and pipelines on {gethostname()} are not the driver's: install" in said.err


def test_what_needs_a_node_that_has_left_fails_after_some_time(
    labs_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import changing_cluster, scheduler

    sizes = iter([Resources(2)])
    monkeypatch.setattr(capacity, "total", lambda: Cluster({"n": next(sizes, Resources(1))}))
    monkeypatch.setattr(capacity, "is_connected", lambda: True)
    monkeypatch.setattr(changing_cluster, "LOOK_EVERY_S", -1.0)
    monkeypatch.setattr(scheduler, "ROOM_WAIT_S", 0.2)
    slim = f"slim: {{{TINY}, resources: {{workers: 0}}}}"
    wide = f"wide: {{{TINY}, needs: {{x: slim}}, resources: {{workers: 0, cpus_per_worker: 2}}}}"
    said = labs_cli("pipeline", "run", spec_of(tmp_path, slim, wide), "--json")
    assert said.code == 1, said.err
    assert {node["name"]: node["status"] for node in said.json["nodes"]} == {"slim": "FINISHED", "wide": "FAILED"}
    assert said.json["nodes"][1]["error"] == (
        "waited 0.2 s for nodes that left: node wide needs 2 CPUs, the cluster has 1 in all"
    )


def test_a_lab_whose_workers_split_no_batch_is_refused_one_for_each(labs_cli: Cli, nodes: Callable[..., None]) -> None:
    nodes(Resources(16))
    said = labs_cli("train", "rl", "--batch-per-worker", "8")
    assert said.code == 2
    assert "lab rl scales by its config (num_env_runners), not by workers" in said.err
