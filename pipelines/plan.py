"""What a pipeline would do: fingerprints, folders, what has finished already, how long the rest takes."""

import heapq
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import labs
from cluster import capacity
from pipelines.backfill import BackfillQueue, Demand
from pipelines.fingerprint import fingerprint
from pipelines.home import attempt, records
from pipelines.node import PlannedNode, facts, job_of, resources
from pipelines.spec import Node
from pipelines.tuning.sweep import Sweep


def plan(
    home: Path, nodes: Iterable[Node], cluster: capacity.Cluster, data: Mapping[str, Path], *, force: bool = False
) -> dict[str, PlannedNode]:
    """Give each node its fingerprint and its folder.

    Args:
        home: the home folder.
        nodes: the graph's nodes, in an order in which each follows what it needs.
        cluster: the cluster.
        data: node name -> prepared data.
        force: give each node a new folder, unless one that was begun this way is still unfinished.
    """
    planned: dict[str, PlannedNode] = {}
    history = durations(home)
    for node in nodes:
        estimate = labs.get(node.lab).seconds.get(node.size, 60.0)
        seconds = history.get((node.lab, node.preset, node.size), estimate)
        upstream = {role: planned[name] for role, name in node.needs.items()}
        if node.tuning:
            sweep = Sweep(home, node, node.tuning, cluster, data[node.name], upstream, force=force)
            planned[node.name] = sweep.planned(seconds)
        else:
            planned[node.name] = _planned_run(home, node, cluster, data[node.name], upstream, seconds, force=force)
    return planned


def durations(home: Path) -> dict[tuple[str, str, str], float]:
    """(lab, preset, size) -> seconds of the newest finished run."""
    return {
        (record["lab"], record["preset"], record["size"]): record["seconds"]
        for _, record in records(home, "runs")
        if record["status"] == "FINISHED"
    }


def priorities(seconds: Mapping[str, float], needs: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """Node -> seconds of the longest path from its start to the graph's end; the longest goes first.

    Args:
        seconds: node -> its own seconds, in an order in which each node follows what it needs.
        needs: node -> nodes that it needs.
    """
    remaining = dict(seconds)
    for name in reversed(list(seconds)):
        for needed in needs[name]:
            remaining[needed] = max(remaining[needed], seconds[needed] + remaining[name])
    return remaining


def demand(planned: Mapping[str, PlannedNode]) -> Demand:
    """What planned nodes ask for: the scheduler's input, and that of the estimate of how long it will take."""
    finished = {name for name, p in planned.items() if p.finished()}
    needs = {name: list(p.node.needs.values()) for name, p in planned.items()}
    bundles = {name: () if name in finished else p.bundles for name, p in planned.items()}
    seconds = {name: 0.0 if name in finished else p.seconds for name, p in planned.items()}
    return Demand(needs, bundles, seconds, priorities(seconds, needs))


def makespan(planned: Mapping[str, PlannedNode], cluster: capacity.Cluster) -> tuple[float, float]:
    """Estimated seconds of the whole pipeline as it will be scheduled, and a bound that no schedule can beat."""
    ahead = demand(planned)
    work = sum(seconds * capacity.in_all(ahead.bundles[name]).cpus for name, seconds in ahead.seconds.items())
    bound = max(max(ahead.remaining.values(), default=0.0), work / cluster.resources.cpus)
    return _simulated_seconds(ahead, cluster), bound


def _planned_run(
    home: Path, node: Node, cluster: capacity.Cluster, data: Path, upstream: Mapping[str, PlannedNode],
    seconds: float, *, force: bool,
) -> PlannedNode:  # fmt: skip
    gpus, bundles = resources(node, cluster)
    digest = fingerprint(facts(node, gpus, data), {role: other.fingerprint for role, other in upstream.items()})
    name = f"{node.lab}-{node.preset}-{node.size}-s{node.seed}-{digest[:12]}"
    folder = attempt(home / "runs" / name, force=force)
    job = job_of(node, gpus, folder, data, {role: other.folder for role, other in upstream.items()})
    return PlannedNode(node, digest, folder, job, bundles, seconds)


def _simulated_seconds(ahead: Demand, cluster: capacity.Cluster) -> float:
    """When the last node ends if every estimate is right."""
    queue, sorter, now = BackfillQueue(ahead, cluster), TopologicalSorter(ahead.needs), 0.0
    sorter.prepare()
    running: list[tuple[float, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            queue.add(name)
        for name in queue.start(now):
            heapq.heappush(running, (queue.ends[name], name))
        now, first = heapq.heappop(running)
        queue.remove(first)
        sorter.done(first)
    return now
