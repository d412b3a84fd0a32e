"""What a pipeline would do, for `labs pipeline plan`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import labs
from cluster import capacity
from cluster.errors import ClusterError
from labs.core import shards
from pipelines.backfill import Demand
from pipelines.estimates import Estimates
from pipelines.node import resources
from pipelines.plan import demand, plan
from pipelines.preparation import places
from pipelines.show.display import clock
from pipelines.simulation import Launches, Stay, bound, simulate
from pipelines.spec import Node


def plan_document(home: Path, nodes: list[Node], cluster: capacity.Cluster) -> dict[str, Any]:
    """What `labs pipeline plan --json` prints; nothing is made or started.

    A node whose data are not made yet counts as not cached.
    """
    faults = []
    for node in nodes:
        try:
            resources(node, cluster)
        except ClusterError as error:
            faults.append(str(error))
    if faults:
        figures = {"makespan_s": 0.0, "bound_s": 0.0, "data_s": 0.0, "gpu_hours": 0.0, **_used({}, cluster)}
        return {"nodes": [], "fits": False, "faults": faults, **figures}
    estimates, data = Estimates(home), places(home, nodes)
    planned = plan(home, nodes, cluster, data, estimates=estimates)
    rows = []
    for name, p in planned.items():
        needed, cached = asdict(capacity.in_all(p.bundles)), p.finished()
        rows.append({"name": name, "cached": cached, "seconds": 0.0 if cached else p.seconds, "resources": needed})
    first, then = _preparation(nodes, data, estimates), demand(planned)
    data_s = max((stay.end for stay in simulate(first, cluster).values()), default=0.0)
    stays = simulate(then, cluster, Launches(planned, estimates))
    return {
        "nodes": rows,
        "fits": True,
        "faults": [],
        "makespan_s": data_s + max((stay.end for stay in stays.values()), default=0.0),
        "bound_s": bound(first, cluster) + bound(then, cluster),
        "data_s": data_s,
        "gpu_hours": sum(stay.resources.gpus * (stay.end - stay.start) for stay in stays.values()) / 3600,
        **_used(stays, cluster),
    }


def sentence(document: dict[str, Any]) -> str:
    """The figures as a sentence."""
    said = f"about {clock(document['makespan_s'])} (no schedule takes less than {clock(document['bound_s'])})"
    if document["data_s"]:
        said += f", the first {clock(document['data_s'])} for data"
    if document["used"] is not None:
        kind = "GPUs" if document["gpu_hours"] else "CPUs"
        said += f"; nodes use {document['used']:.0%} of the {kind}"
        if document["used_to_last_start"] is not None:
            said += f", {document['used_to_last_start']:.0%} until the last one starts"
    return said + (f"; {document['gpu_hours']:.1f} GPU-hours" if document["gpu_hours"] else "")


def _preparation(nodes: list[Node], data: Mapping[str, Path], estimates: Estimates) -> Demand:
    """The data sets that are not there yet, which are prepared side by side before anything trains."""
    missing = {
        str(data[node.name]): node
        for node in nodes
        if labs.get(node.lab).data is not None and not (data[node.name] / shards.MANIFEST).exists()
    }
    seconds = {place: estimates.preparation_s(node) for place, node in missing.items()}
    bundles: dict[str, capacity.Bundles] = dict.fromkeys(missing, (capacity.Resources(1),))
    # None goes before another: Ray starts them in this order.
    remaining = dict.fromkeys(missing, max(seconds.values(), default=0.0))
    return Demand({place: [] for place in missing}, bundles, seconds, remaining)


def _used(stays: Mapping[str, Stay], cluster: capacity.Cluster) -> dict[str, float | None]:
    """Share of the cluster that nodes hold from the first one's start to the last one's end, and to its start.

    It is that of the GPUs, or of the CPUs where no node takes a GPU. None where there is no such time.
    """
    kind = "gpus" if any(stay.resources.gpus for stay in stays.values()) else "cpus"
    has, held = getattr(cluster.resources, kind), [(getattr(stay.resources, kind), stay) for stay in stays.values()]

    def until(end: float) -> float | None:
        work = sum(takes * (min(stay.end, end) - stay.start) for takes, stay in held if stay.start < end)
        return work / (has * end) if end else None

    return {
        "used": until(max((stay.end for stay in stays.values()), default=0.0)),
        "used_to_last_start": until(max((stay.start for stay in stays.values()), default=0.0)),
    }
