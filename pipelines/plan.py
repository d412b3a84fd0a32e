"""What a pipeline would do: data, fingerprints, folders, what is cached, how long the rest takes."""

import heapq
from collections.abc import Iterable, Mapping
from pathlib import Path

import labs
from cluster import capacity
from pipelines.fingerprint import fingerprint
from pipelines.home import attempt, records
from pipelines.node import Planned, facts, job_of, resources
from pipelines.spec import Node
from pipelines.tuning.sweep import Sweep


def plan(
    home: Path, nodes: Iterable[Node], cluster: capacity.Resources, data: Mapping[str, Path], *, force: bool = False
) -> dict[str, Planned]:
    """Fingerprint the nodes, which stand in an order in which each follows what it needs.

    Args:
        home: the home folder.
        nodes: the graph's nodes.
        cluster: what the cluster has in all.
        data: node name -> prepared data.
        force: give each node a new folder, unless one that was begun this way is still unfinished.
    """
    planned: dict[str, Planned] = {}
    history = durations(home)
    for node in nodes:
        guess = labs.get(node.lab).seconds.get(node.size, 60.0)
        seconds = history.get((node.lab, node.preset, node.size), guess)
        upstream = {role: planned[name] for role, name in node.needs.items()}
        if node.tuning:
            sweep = Sweep(home, node, node.tuning, cluster, data[node.name], upstream, force=force)
            planned[node.name] = sweep.planned(seconds)
        else:
            planned[node.name] = _run(home, node, cluster, data[node.name], upstream, seconds, force=force)
    return planned


def _run(
    home: Path, node: Node, cluster: capacity.Resources, data: Path, upstream: Mapping[str, Planned], seconds: float,
    *, force: bool,
) -> Planned:  # fmt: skip
    gpus, needed = resources(node, cluster)
    print_ = fingerprint(facts(node, gpus, data), {role: other.fingerprint for role, other in upstream.items()})
    name = f"{node.lab}-{node.preset}-{node.size}-s{node.seed}-{print_[:12]}"
    folder = attempt(home / "runs" / name, force=force)
    job = job_of(node, gpus, folder, data, {role: other.folder for role, other in upstream.items()})
    return Planned(node, print_, folder, job, needed, seconds)


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


def makespan(planned: Mapping[str, Planned], cluster: capacity.Resources) -> tuple[float, float]:
    """Estimated seconds of the whole pipeline, scheduled as it will be, and the least that any schedule takes."""
    todo = {name: (0.0 if p.finished else p.seconds) for name, p in planned.items()}
    needs = {name: list(p.node.needs.values()) for name, p in planned.items()}
    order = priorities(todo, needs)
    running: list[tuple[float, str]] = []
    free, now, done = cluster, 0.0, set[str]()
    waiting = sorted(todo, key=lambda name: -order[name])
    while waiting or running:
        for name in list(waiting):
            if done.issuperset(needs[name]) and planned[name].needed.fits(free):
                waiting.remove(name)
                free = free - planned[name].needed
                heapq.heappush(running, (now + todo[name], name))
        now, ended = heapq.heappop(running)
        free = free + planned[ended].needed
        done.add(ended)
    work = sum(todo[name] * p.needed.cpus for name, p in planned.items())
    return now, max(max(order.values(), default=0.0), work / cluster.cpus)
