"""What a machine has, and the sentence for what can never fit."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cluster import capacity, connect
from cluster.capacity import Bundles, Cluster, Resources, Room, require
from cluster.errors import ClusterError


def cluster(*nodes: Resources) -> Cluster:
    return Cluster({f"n{i}": node for i, node in enumerate(nodes)})


ONE = Resources(1)


def test_a_ray_that_another_thread_is_importing_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended a pipeline of bare nodes with an AttributeError while the rl lab imported RLlib."""
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    assert not capacity.is_connected()
    assert not connect.is_own_ray()


@pytest.mark.parametrize(
    ("bundles", "nodes", "sentence"),
    [
        ((Resources(4),), [Resources(2)], "4 CPUs, the cluster has 2 in all"),
        ((Resources(1, 1),), [Resources(2)], "1 GPU, the cluster has 0 in all"),
        ((Resources(2.5, 2),), [Resources(2)], "2.5 CPUs and 2 GPUs, the cluster has 2 and 0 in all"),
        ((Resources(2),), [ONE] * 3, "1 times 2 CPUs, each time on one node; the cluster has 3 nodes of 1 CPU"),
        (
            (Resources(2),) * 3, [Resources(3)] * 2 + [ONE],
            "3 times 2 CPUs, each time on one node; the cluster has 2 nodes of 3 CPUs and 1 node of 1 CPU",
        ),
        (
            (Resources(1, 2),), [Resources(4, 1)] * 2,
            "1 times 1 CPU with 2 GPUs, each time on one node; the cluster has 2 nodes of 4 CPUs with 1 GPU",
        ),
        (
            (ONE, Resources(0.5), Resources(0.5)), [Resources(0.75)] * 3,
            "1 times 1 CPU and 2 times 0.5 CPUs, each time on one node; the cluster has 3 nodes of 0.75 CPUs",
        ),
    ],
)  # fmt: skip
def test_what_can_never_fit_is_refused_with_both_numbers(
    bundles: Bundles, nodes: list[Resources], sentence: str
) -> None:
    with pytest.raises(ClusterError) as raised:
        require("training cnn", bundles, within=cluster(*nodes))
    assert str(raised.value) == f"training cnn needs {sentence}"


@pytest.mark.parametrize(
    ("bundles", "nodes"),
    [
        ((Resources(2, 1),), [Resources(2, 1)]),
        ((Resources(2),) * 3, [Resources(4), Resources(2)]),
        ((Resources(0.5), Resources(0.5), ONE), [ONE, ONE]),  # the largest part first
        ((ONE, Resources(1, 1)), [Resources(1, 1), ONE]),  # what asks for no GPU leaves it free
    ],
)
def test_what_fits_exactly_is_let_through(bundles: Bundles, nodes: list[Resources]) -> None:
    require("training cnn", bundles, within=cluster(*nodes))


def test_room_is_taken_and_given_back_node_by_node() -> None:
    room = Room(cluster(Resources(2), Resources(2)))
    assert room.take("a", (Resources(1.5),))
    assert room.take("b", (Resources(1.5),))
    assert not room.take("c", (ONE,))  # there is half a CPU on each node
    room.give_back("a")
    assert room.take("c", (ONE,))


def test_nodes_that_join_are_used_and_nodes_that_leave_take_their_room_away() -> None:
    room = Room(Cluster({"first": ONE}))
    assert room.take("a", (ONE,))
    assert not room.take("b", (ONE,))
    room.update(Cluster({"first": ONE, "second": ONE}))
    assert room.take("b", (ONE,))
    room.give_back("a")
    room.update(Cluster({"first": ONE}))  # what was on the second node goes on on the first one
    assert not room.take("c", (ONE,))
    room.give_back("b")
    assert room.take("c", (ONE,))


def test_resources_are_taken_and_given_back() -> None:
    free = Resources(4, 2) - Resources(1, 0.5)
    assert free == Resources(3, 1.5)
    assert free + Resources(1, 0.5) == Resources(4, 2)
    assert not Resources(1, 2).fits(free)
    assert Resources(3, 1).fits(free)


@pytest.mark.parametrize(
    ("allowed", "count"),
    [(None, 4), ("", 0), ("-1", 0), ("0,2", 2), ("1, 3", 2), ("0,9,1", 1), ("GPU-8f2a,MIG-11", 2)],
)
def test_visible_gpus_are_counted_as_cuda_does(allowed: str | None, count: int) -> None:
    assert capacity._visible(4, allowed) == count


@pytest.mark.parametrize(("text", "cpus"), [("200000 100000\n", 2), ("max 100000\n", float("inf")), ("", float("inf"))])
def test_a_container_s_limit_is_read(tmp_path: Path, text: str, cpus: float) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert capacity._container_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("250000\n", 2), ("-1\n", float("inf"))])
def test_a_container_s_limit_is_read_from_cgroup_version_1(tmp_path: Path, quota: str, cpus: float) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert capacity._container_cpus(tmp_path) == cpus


def test_no_nvidia_driver_means_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise capacity.pynvml.NVMLError(capacity.pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(capacity.pynvml, "nvmlInit", absent)
    assert capacity._gpus() == 0


def test_this_machine_is_looked_at_without_ray_or_torch() -> None:
    look = "import sys; from cluster import capacity; print(capacity.total().resources.cpus >= 1, "
    script = look + "{'ray', 'torch'} & {*sys.modules})"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "True set()\n"


def test_parts_of_a_gpu_that_come_back_make_a_whole_one() -> None:
    """1 - 0.3 - 0.1 + 0.3 + 0.1 is less than 1 in floating point, and a node of a whole GPU would wait for ever."""
    free, parts = capacity.Resources(4, 1), [capacity.Resources(1, 0.3), capacity.Resources(1, 0.1)]
    for part in parts:
        free = free - part
    for part in parts:
        free = free + part
    assert capacity.Resources(4, 1).fits(free)
