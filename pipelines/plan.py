"""What a pipeline would do: fingerprints, folders, what has finished already, how long the rest takes."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import labs
from cluster import capacity
from labs.core import shards
from pipelines.backfill import Demand
from pipelines.estimates import Estimates
from pipelines.fingerprint import fingerprint
from pipelines.home import attempt
from pipelines.node import PlannedNode, facts, job_of, resources
from pipelines.preparation import Preparation
from pipelines.spec import Node
from pipelines.tuning.sweep import Sweep


def plan(
    home: Path,
    nodes: Iterable[Node],
    cluster: capacity.Cluster,
    data: Mapping[str, Path],
    *,
    force: bool = False,
    estimates: Estimates | None = None,
) -> dict[str, PlannedNode]:
    """Give each node its fingerprint, its folder and an estimate of its time.

    Args:
        home: the home folder.
        nodes: the graph's nodes, in an order in which each follows what it needs.
        cluster: the cluster.
        data: node name -> its data, prepared or not.
        force: give each node a new folder, unless one that was begun this way is still unfinished.
    """
    planned: dict[str, PlannedNode] = {}
    estimates = estimates or Estimates(home)
    for node in nodes:
        upstream = {role: planned[name] for role, name in node.needs.items()}
        if node.tuning:
            sweep = Sweep(home, node, node.tuning, cluster, data[node.name], upstream, force=force)
            planned[node.name] = sweep.planned(estimates.training_s(node, sweep.gpus, data[node.name]))
        else:
            planned[node.name] = _planned_run(home, node, cluster, data[node.name], upstream, estimates, force=force)
    return planned


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


def missing_data(home: Path, planned: Mapping[str, PlannedNode], estimates: Estimates) -> dict[str, Preparation]:
    """The data sets that unfinished nodes wait for, each by the path of its folder."""
    is_missing = {p.job.data: not (p.job.data / shards.MANIFEST).exists() for p in planned.values()}
    waiting: dict[str, PlannedNode] = {}
    for p in planned.values():
        if is_missing[p.job.data] and str(p.job.data) not in waiting and _waits_for_data(p):
            waiting[str(p.job.data)] = p
    return {place: Preparation(home, p.node, estimates.preparation_s(p.node)) for place, p in waiting.items()}


def demand(planned: Mapping[str, PlannedNode], data: Mapping[str, Preparation]) -> Demand:
    """What planned nodes, and the data sets that they wait for, ask of the cluster: the scheduler's input, and that of
    the estimate of how long it will take."""
    finished = {name for name, p in planned.items() if p.finished()}
    needs: dict[str, list[str]] = {place: [] for place in data}
    bundles: dict[str, capacity.Bundles] = dict.fromkeys(data, (capacity.Resources(1),))
    seconds = {place: preparation.seconds for place, preparation in data.items()}
    for name, p in planned.items():
        awaited = [] if name in finished or str(p.job.data) not in data else [str(p.job.data)]
        needs[name] = [*p.node.needs.values(), *awaited]
        bundles[name] = () if name in finished else p.bundles
        seconds[name] = 0.0 if name in finished else p.seconds
    return Demand(needs, bundles, seconds, priorities(seconds, needs))


def _waits_for_data(planned: PlannedNode) -> bool:
    return labs.get(planned.node.lab).data is not None and not planned.finished()


def _planned_run(
    home: Path, node: Node, cluster: capacity.Cluster, data: Path, upstream: Mapping[str, PlannedNode],
    estimates: Estimates, *, force: bool,
) -> PlannedNode:  # fmt: skip
    gpus, bundles = resources(node, cluster)
    digest = fingerprint(facts(node, gpus, data), {role: other.fingerprint for role, other in upstream.items()})
    name = f"{node.lab}-{node.preset}-{node.size}-s{node.seed}-{digest[:12]}"
    folder = attempt(home / "runs" / name, force=force)
    job = job_of(node, gpus, folder, data, {role: other.folder for role, other in upstream.items()})
    return PlannedNode(node, digest, folder, job, bundles, estimates.training_s(node, gpus, data))
