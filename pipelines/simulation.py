"""A pipeline on a simulated clock: the decisions of the scheduler, for a cluster that may only be described.

Times are in seconds from the pipeline's beginning. Nodes take as long as estimated.
"""

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

import labs
from cluster.capacity import Bundles, Cluster, Resources, in_all
from pipelines.backfill import BackfillQueue, Demand
from pipelines.estimates import Estimates
from pipelines.idle_workers import IdleWorkers
from pipelines.job import Shape
from pipelines.node import PlannedNode
from pipelines.tuning.sweep import PlannedSweep


@dataclass(frozen=True)
class Stay:
    """A node's stay on the cluster."""

    start: float
    end: float
    resources: Resources
    """What it holds meanwhile."""


@dataclass
class SimulatedGroup:
    """Workers that stay for the next node of their shape."""

    shape: Shape

    def has_ended(self) -> bool:
        """None of them is lost."""
        return False

    def end(self) -> None:
        """To end takes no time."""


class Launches:
    """What nodes wait for before they train: new workers, where none of their shape are idle; as `ray_train` does it.

    Args:
        planned: the nodes.
        estimates: how long earlier launches took.
    """

    def __init__(self, planned: Mapping[str, PlannedNode], estimates: Estimates) -> None:
        self.planned, self.estimates = planned, estimates
        self.idle = IdleWorkers[SimulatedGroup]()

    def start(self, name: str) -> float:
        """Seconds until the node trains; of a sweep and of RLlib's host the estimate of the node itself has them.

        What is no node is a data set, whose preparation leaves the workers that wait for a job.
        """
        if name not in self.planned:
            return 0.0
        planned = self.planned[name]
        if self._has_workers(planned):
            return 0.0 if self.idle.take(planned.job.shape) else self.estimates.launch_s(planned.job.shape)
        if planned.job.workers:
            self.idle.end()
        return 0.0

    def end(self, name: str) -> None:
        """The node has ended, and its workers stay."""
        if name in self.planned and self._has_workers(self.planned[name]):
            self.idle.put(SimulatedGroup(self.planned[name].job.shape))

    @staticmethod
    def _has_workers(planned: PlannedNode) -> bool:
        placement = labs.get(planned.node.lab).placement
        return placement == "train" and planned.job.workers > 0 and not isinstance(planned, PlannedSweep)


def simulate(ahead: Demand, cluster: Cluster, launches: Launches | None = None) -> dict[str, Stay]:
    """Each node's stay; without `launches`, nodes begin as soon as they have room.

    Args:
        ahead: what the nodes ask for; one that has finished already asks for no time and no room.
        cluster: the cluster, on which nothing else runs.
        launches: what nodes wait for in their place.
    """
    queue, sorter, now = BackfillQueue(ahead, cluster), TopologicalSorter(ahead.needs), 0.0
    sorter.prepare()
    running: list[tuple[float, str]] = []
    stays: dict[str, Stay] = {}
    while sorter.is_active():
        for name in sorter.get_ready():
            queue.add(name)
        for name in queue.start(now):
            launch = launches.start(name) if launches and ahead.bundles[name] else 0.0
            stays[name] = Stay(now, now + launch + ahead.seconds[name], in_all(ahead.bundles[name]))
            heapq.heappush(running, (stays[name].end, name))
        now = running[0][0]
        while running and running[0][0] == now:
            _, name = heapq.heappop(running)
            queue.remove(name)
            sorter.done(name)
            if launches and ahead.bundles[name]:
                launches.end(name)
    return stays


def bound(ahead: Demand, cluster: Cluster) -> float:
    """Seconds that no schedule can beat: those of the longest path, of all work, and of the nodes of each shape."""
    alike: dict[Bundles, list[float]] = defaultdict(list)
    for name, bundles in ahead.bundles.items():
        alike[bundles].append(ahead.seconds[name])
    alike.pop((), None)  # what has finished already
    work = {bundles: sum(seconds) for bundles, seconds in alike.items()}
    totals = [
        (sum(in_all(bundles).cpus * seconds for bundles, seconds in work.items()), cluster.resources.cpus),
        (sum(in_all(bundles).gpus * seconds for bundles, seconds in work.items()), cluster.resources.gpus),
    ]
    return max(
        [
            max(ahead.remaining.values(), default=0.0),
            *(needed / has for needed, has in totals if needed),
            *(_bound_of_alike(seconds, _at_once(bundles, cluster)) for bundles, seconds in alike.items()),
        ]
    )


def _at_once(bundles: Bundles, cluster: Cluster) -> int:
    """How many nodes of one shape the cluster can hold at most, judged by the largest of their parts."""
    largest = max(bundles, key=lambda part: (part.gpus, part.cpus))
    fits = sum(
        min(int(has / part) for has, part in ((node.cpus, largest.cpus), (node.gpus, largest.gpus)) if part)
        for node in cluster.nodes.values()
    )
    return fits // bundles.count(largest)


def _bound_of_alike(seconds: Collection[float], places: int) -> float:
    """Seconds that nodes need which can only follow each other in so many places.

    Of the `k * places + 1` longest ones, some place has `k + 1`, and those take at least as long as the shortest ones.
    """
    longest = sorted(seconds, reverse=True)
    stacked = (sum(longest[k * places - i] for i in range(k + 1)) for k in range((len(longest) - 1) // places + 1))
    return max(sum(longest) / places, *stacked)
