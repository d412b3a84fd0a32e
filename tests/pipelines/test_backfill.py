"""Which waiting node starts next: nobody is starved, and nothing that could run without delaying another waits."""

from cluster.capacity import Bundles, Cluster, Resources
from pipelines.backfill import BackfillQueue, Demand

ONE: Bundles = (Resources(1),)
TWO: Bundles = (Resources(1), Resources(1))


def queue_of(cpus: int, nodes: dict[str, tuple[Bundles, float]]) -> BackfillQueue:
    """A queue in which all nodes wait on a machine with so many CPUs; the order is their priority."""
    seconds = {name: seconds for name, (_, seconds) in nodes.items()}
    remaining = {name: 1000.0 - place for place, name in enumerate(nodes)}
    bundles = {name: bundles for name, (bundles, _) in nodes.items()}
    queue = BackfillQueue(
        Demand({name: [] for name in nodes}, bundles, seconds, remaining),
        Cluster({"machine": Resources(cpus)}),
    )
    for name in nodes:
        queue.add(name)
    return queue


def test_smaller_nodes_do_not_starve_a_larger_one() -> None:
    queue = queue_of(2, {"a": (ONE, 10), "large": (TWO, 10), **{f"small{i}": (ONE, 11) for i in range(9)}})
    assert queue.start(0.0) == ["a"]  # every small one would still run when a ends
    queue.remove("a")
    assert queue.start(10.0) == ["large"]


def test_a_node_that_ends_in_time_overtakes() -> None:
    queue = queue_of(2, {"a": (ONE, 10), "large": (TWO, 10), "long": (ONE, 11), "short": (ONE, 9)})
    assert queue.start(0.0) == ["a", "short"]


def test_a_node_that_fits_beside_the_larger_one_overtakes() -> None:
    queue = queue_of(3, {"a": (ONE, 10), "b": (ONE, 10), "large": (TWO, 10), "c": (ONE, 99), "d": (ONE, 99)})
    assert queue.start(0.0) == ["a", "b", "c"]
    queue.remove("a")
    assert queue.start(10.0) == []  # with d there, the large one would wait for c
    queue.remove("b")
    assert queue.start(10.0) == ["large"]


def test_what_runs_longer_than_estimated_is_expected_to_end_at_once() -> None:
    queue = queue_of(2, {"a": (ONE, 1), "large": (TWO, 10), "short": (ONE, 9)})
    assert queue.start(0.0) == ["a"]
    queue.update(queue.room.cluster)
    assert queue.start(5.0) == []


def test_a_node_for_which_the_cluster_has_shrunk_holds_up_none() -> None:
    queue = queue_of(2, {"large": (TWO, 10), "small": (ONE, 10)})
    queue.update(Cluster({"other": Resources(1)}))
    assert queue.start(0.0) == ["small"]


def test_every_node_starts_in_the_end() -> None:
    shapes: list[Bundles] = [(Resources(cpus),) * workers for cpus in (1, 2, 3) for workers in (1, 2, 4)]
    queue = queue_of(16, {f"n{i}": (shapes[i % len(shapes)], 1.0 + i % 7) for i in range(200)})
    now, started = 0.0, list[str]()
    while queue.waiting or queue.ends:
        started += queue.start(now)
        first = min(queue.ends, key=queue.ends.__getitem__)
        now = queue.ends[first]
        queue.remove(first)
    assert len(started) == 200
