"""A cluster that has a head node without CPUs, and an autoscaler that starts nodes when it is asked for them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import labs
from cluster import capacity, connect
from cluster.capacity import Cluster, Resources
from pipelines import starting_cluster
from pipelines.show.reporter import ScreenReporter
from pipelines.spec import Node
from pipelines.spec_fields import NodeResources
from tests.conftest import Said

HEAD = {"head": Resources(0)}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, float]]]:
    """What the autoscaler is asked for."""
    asked: list[list[dict[str, float]]] = []
    monkeypatch.setattr("ray.autoscaler.sdk.request_resources", lambda *, bundles: asked.append(bundles))
    monkeypatch.setattr(starting_cluster, "LOOK_EVERY_S", 0.01)
    return asked


def test_it_is_asked_for_the_largest_node_and_waited_for_until_all_fit(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    grown = {"a": Resources(2)}, {"a": Resources(2), "b": Resources(2, 1)}
    clusters: Iterator[Cluster] = iter([Cluster(HEAD), *(Cluster(HEAD | nodes) for nodes in grown)])
    monkeypatch.setattr(capacity, "total", lambda: next(clusters))
    config = labs.get("regression").resolve("simple", "tiny")
    nodes = [
        Node("small", "regression", "simple", "tiny", config),
        Node("large", "regression", "simple", "tiny", config,
             resources=NodeResources(workers=2, cpus_per_worker=2, gpus_per_worker=0)),
    ]  # fmt: skip
    assert starting_cluster.wait_for(nodes, ScreenReporter()) == Cluster(HEAD | grown[1])
    assert asked == [[{"CPU": 2.0}, {"CPU": 2.0}], []]
    assert "waiting up to 600 s for nodes with 4 CPUs" in capfd.readouterr().err


def test_one_that_starts_no_nodes_is_an_error_with_the_numbers(
    labs_cli: Callable[..., Said], asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting_cluster, "START_WAIT_S", 0.05)
    monkeypatch.setenv("RAY_ADDRESS", "there:6379")
    monkeypatch.setattr(connect, "connect", lambda: Cluster(HEAD))
    monkeypatch.setattr(capacity, "total", lambda: Cluster(HEAD))
    said = labs_cli("train", "regression", "--size", "tiny", "--gpus-per-worker", "1")
    assert said.code == 2
    assert "needs 1 CPU and 1 GPU, the cluster has 0 and 0 in all" in said.err
    assert asked == [[{"CPU": 1.0, "GPU": 1.0}], []]
