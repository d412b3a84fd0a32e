"""What a plan promises: for a cluster that is only described, and judged by what earlier runs took."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said

Cli = Callable[..., Said]
TINY = "lab: regression, size: tiny"


@pytest.fixture
def plan(labs_cli: Cli, tmp_path: Path) -> Callable[..., Any]:
    """The plan of nodes of regression, for a described cluster."""

    def of(cluster: str, **nodes: str) -> Any:
        spec = tmp_path / "spec.yaml"
        fields = {name: f"{TINY}, {more}" if more else TINY for name, more in nodes.items()}
        spec.write_text("\n".join(["name: test", "nodes:", *(f"  {name}: {{{f}}}" for name, f in fields.items())]))
        said = labs_cli("pipeline", "plan", spec, "--cluster", cluster, "--json")
        assert said.code == (0 if said.json["fits"] else 2), said.err
        return said.json

    return of


def test_a_plan_that_does_not_fit_says_which_node_and_is_bad_input(labs_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"name: test\nnodes: {{large: {{{TINY}, resources: {{cpus_per_worker: 5}}}}}}")
    said = labs_cli("pipeline", "plan", tmp_path / "spec.yaml", "--cluster", "2x(4 CPU)")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1].startswith("error: node large ")


@pytest.fixture
def took(labs_cli: Cli, home: Path) -> None:
    """A home in which regression was trained once: 30 s on new workers, whose launch was 20 s of them."""
    (home / "data").unlink()  # what other tests prepared would be judged by, too
    assert labs_cli("train", "regression", "--size", "tiny", "--workers", "0", "--set", "epochs=4").code == 0
    (record,) = home.glob("runs/*/record.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": 30.0}))
    (record.parent / "launches").write_text("20.0\n")


def seconds_of(plan: Any) -> list[float]:
    return [node["seconds"] for node in plan["nodes"]]


def test_a_plan_for_a_described_cluster_starts_nothing_of_ray(
    plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cluster import connect

    monkeypatch.setenv("RAY_ADDRESS", "ray://nowhere:10001")
    monkeypatch.setattr(connect, "connect", lambda *args, **kwargs: pytest.fail("Ray was connected"))
    planned = plan("2x(8 GPU, 96 CPU)", one="", four="resources: {workers: 4}")
    assert [node["resources"] for node in planned["nodes"]] == [{"cpus": 1.0, "gpus": 1.0}, {"cpus": 4.0, "gpus": 4.0}]
    assert planned["fits"]
    assert planned["makespan_s"] >= planned["bound_s"] > 0
    assert planned["gpu_hours"] > 0
    assert 0 < planned["used"] < 1


@pytest.mark.parametrize(
    "cluster",
    ["", "64", "8 GPU", "64x8", "4x(8 GPU)", "0x(1 CPU)", "2x(4 CPU, 3 TPU)", "2x(4 CPU, 8 CPU)", "(4 CPU) +"],
)
def test_a_cluster_that_is_not_described_well_is_one_sentence(labs_cli: Cli, cluster: str) -> None:
    said = labs_cli("pipeline", "plan", "course", "--cluster", cluster)
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith(f"error: cluster {cluster!r}: ")
    assert said.err.splitlines()[-1].endswith("such as '4x(8 GPU, 96 CPU) + 16x(32 CPU)'")


def test_a_plan_counts_nodes_of_the_cluster_and_not_their_sum(plan: Callable[..., Any], took: None) -> None:
    """Twelve CPUs would hold four nodes of three CPUs each; three machines of four CPUs hold three."""
    nodes = {f"n{i}": "resources: {cpus_per_worker: 3}, overrides: {epochs: 4}" for i in range(4)}
    planned = plan("2x(4 CPU) + (4 CPU)", **nodes)
    assert planned["bound_s"] == pytest.approx(20.0)
    assert planned["makespan_s"] == pytest.approx(40.0)  # the workers of the first three stay
    assert planned["used"] == pytest.approx((3 * 30 + 10) * 3 / (12 * 40))
    assert planned["used_to_last_start"] == pytest.approx(9 / 12)
    assert not plan("3x(4 CPU)", large="resources: {cpus_per_worker: 5}")["fits"]


def test_workers_are_launched_once_for_each_shape(plan: Callable[..., Any], took: None) -> None:
    same = plan("(2 CPU)", a="overrides: {epochs: 4}, seeds: [1, 2, 3, 4]")
    assert seconds_of(same) == [pytest.approx(10.0)] * 4
    assert same["makespan_s"] == pytest.approx(20 + 2 * 10)
    other = plan("(2 CPU)", a="overrides: {epochs: 4}, seeds: [1, 2]",
                 b="overrides: {epochs: 4}, resources: {cpus_per_worker: 2}, needs: {x: a-s1, y: a-s2}")  # fmt: skip
    assert other["makespan_s"] == pytest.approx(20 + 10 + 20 + 10)


def test_an_estimate_scales_with_epochs_workers_and_data(plan: Callable[..., Any], took: None, tmp_path: Path) -> None:
    from labs.regression import data

    (folder := tmp_path / "twice").mkdir()
    data.make(folder, 0, "tiny")
    for file in folder.rglob("*.csv"):
        header, *rows = file.read_text().splitlines(keepends=True)
        file.write_text(header + "".join(rows + rows))
    planned = plan(
        "2x(8 CPU)",
        same="overrides: {epochs: 4}, seeds: [1]",
        longer="overrides: {epochs: 12}",
        shared="overrides: {epochs: 4}, resources: {workers: 2}",
        larger=f"overrides: {{epochs: 4}}, data: {folder}",
    )
    assert seconds_of(planned) == [pytest.approx(s, rel=0.02) for s in (10.0, 30.0, 5.0, 20.0)]
