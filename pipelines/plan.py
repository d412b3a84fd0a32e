"""What a pipeline would do: data, fingerprints, folders, what is cached, how long the rest takes."""

import heapq
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labs
from cluster import capacity
from labs.data import shards
from labs.errors import BadInput
from pipelines import datasets
from pipelines.fingerprint import fingerprint
from pipelines.home import records, result, write_record
from pipelines.job import Job
from pipelines.spec import Node


@dataclass(frozen=True)
class Planned:
    """A node with its place on disk and its share of the cluster."""

    node: Node
    fingerprint: str
    folder: Path
    job: Job
    needed: capacity.Resources
    seconds: float
    """Estimated from earlier runs of the same lab, preset and size, else the lab's own guess."""


def resources(node: Node, cluster: capacity.Resources) -> tuple[float, capacity.Resources]:
    """GPUs of each worker, and all that the node takes; `ClusterError` if the cluster can never hold it."""
    lab = labs.get(node.lab)
    wanted = node.resources
    gpus = wanted.gpus_per_worker
    workers = max(1, wanted.workers)
    if lab.placement == "rllib" and workers > 1:
        raise BadInput(f"node {node.name}: lab {node.lab} scales by its config (num_env_runners), not by workers")
    if gpus is None:
        # RLlib's networks are so small that a GPU is only worth it where asked for.
        gpus = 1.0 if lab.placement == "train" and cluster.gpus >= workers else 0.0
    cpus = workers * wanted.cpus_per_worker if lab.placement == "train" else sum(lab.bundles(node.config))
    needed = capacity.Resources(cpus=cpus, gpus=gpus * workers)
    plural = "worker" if workers == 1 else "workers"
    capacity.require(f"node {node.name} (lab {node.lab}) with {workers} {plural}", needed, cluster)
    batch = getattr(node.config, "batch_size", workers)
    if batch % workers:
        raise BadInput(f"node {node.name}: batch size {batch} can't be split evenly between {workers} workers")
    return gpus, needed


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
        lab = labs.get(node.lab)
        gpus, needed = resources(node, cluster)
        upstream = {role: planned[name] for role, name in node.needs.items()}
        facts: dict[str, Any] = {
            "lab": node.lab,
            "config": node.config.model_dump(mode="json"),
            "preset": node.preset,
            "size": node.size,
            "seed": node.seed,
            "workers": max(1, node.resources.workers),
            "threads": node.resources.cpus_per_worker,
            "device": "cuda" if gpus else "cpu",
            "data": datasets.digest(lab, data[node.name]),
        }
        print_ = fingerprint(facts, {role: other.fingerprint for role, other in upstream.items()})
        name = f"{node.lab}-{node.preset}-{node.size}-s{node.seed}-{print_[:12]}"
        folder = attempt(home / "runs" / name, force=force)
        job = Job(
            lab=node.lab,
            preset=node.preset,
            size=node.size,
            config=facts["config"],
            seed=node.seed,
            workers=node.resources.workers,
            cpus_per_worker=node.resources.cpus_per_worker,
            gpus_per_worker=gpus,
            folder=folder,
            data=data[node.name],
            upstream={role: other.folder for role, other in upstream.items()},
            retries=node.retries,
            bundles=lab.bundles(node.config),
        )
        guess = lab.seconds.get(node.size, 60.0)
        seconds = history.get((node.lab, node.preset, node.size), guess)
        planned[node.name] = Planned(node, print_, folder, job, needed, seconds)
    return planned


def attempt(base: Path, *, force: bool) -> Path:
    """The newest folder of a fingerprint; with `force` a further one if the newest has finished."""
    number = 1
    while _numbered(base, number + 1).exists():
        number += 1
    newest = _numbered(base, number)
    return _numbered(base, number + 1) if force and result(newest) else newest


def begin(planned: Planned, parent: Path) -> None:
    """Write the record of a run that has none yet: who it is, for whoever looks at the folder."""
    node, job = planned.node, planned.job
    if (planned.folder / "record.json").exists():
        return
    lab = labs.get(node.lab)
    data: dict[str, Any] = {"packed": str(job.data), "origin": "environment", "splits": {}, "source": node.lab}
    data["digest"] = datasets.digest(lab, job.data)
    if lab.data is not None:
        found = shards.manifest(job.data)
        source = str(node.data) if node.data else lab.data.__name__
        data.update(origin=found["origin"], splits=found["splits"], source=source)
    write_record(
        planned.folder,
        key=uuid.uuid4().hex,
        name=f"{node.lab}-{node.preset}-{node.size}-s{node.seed}",
        lab=node.lab,
        preset=node.preset,
        size=node.size,
        seed=node.seed,
        status="WAITING",
        created=time.time(),
        seconds=0.0,
        error="",
        parent=str(parent),
        data=data,
        params={
            **flatten(job.config),
            "preset": node.preset,
            "size": node.size,
            "seed": node.seed,
            "workers": max(1, job.workers),
            "cpus_per_worker": job.cpus_per_worker,
            "gpus_per_worker": job.gpus_per_worker,
        },
        tags={
            "labs.lab": node.lab,
            "labs.preset": node.preset,
            "labs.size": node.size,
            "labs.seed": str(node.seed),
            "labs.metric": lab.metric.name,
            "labs.goal": lab.metric.goal,
            "labs.fingerprint": planned.fingerprint,
            "labs.folder": str(planned.folder),
        },
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names: what MLflow's parameters can hold."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


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
    todo = {name: (0.0 if result(p.folder) else p.seconds) for name, p in planned.items()}
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


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")
