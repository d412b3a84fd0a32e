"""What a pipeline would do, for `labs pipeline plan`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster import capacity
from cluster.errors import ClusterError
from pipelines.estimates import Estimates
from pipelines.node import resources
from pipelines.plan import demand, missing_data, plan
from pipelines.preparation import places
from pipelines.show.display import clock
from pipelines.simulation import Launches, Stay, bound, simulate
from pipelines.spec import Node


def plan_document(home: Path, nodes: list[Node], cluster: capacity.Cluster) -> dict[str, Any]:
    """What `labs pipeline plan --json` prints; nothing is made or started.

    A node whose data folder was not prepared yet counts as not cached.
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
    estimates = Estimates(home)
    planned = plan(home, nodes, cluster, places(home, nodes), estimates=estimates)
    rows = []
    for name, p in planned.items():
        needed, cached = asdict(capacity.in_all(p.bundles)), p.finished()
        rows.append({"name": name, "cached": cached, "seconds": 0.0 if cached else p.seconds, "resources": needed})
    missing = missing_data(home, planned, estimates)
    ahead = demand(planned, missing)
    stays = simulate(ahead, cluster, Launches(planned, estimates))
    return {
        "nodes": rows,
        "fits": True,
        "faults": [],
        "makespan_s": max((stay.end for stay in stays.values()), default=0.0),
        "bound_s": bound(ahead, cluster),
        "data_s": sum(preparation.seconds for preparation in missing.values()),
        "gpu_hours": sum(stay.resources.gpus * (stay.end - stay.start) for stay in stays.values()) / 3600,
        **_used(stays, cluster),
    }


def sentence(document: dict[str, Any]) -> str:
    """The figures as a sentence."""
    said = f"about {clock(document['makespan_s'])} (no schedule takes less than {clock(document['bound_s'])})"
    if document["data_s"]:
        said += f", {clock(document['data_s'])} on one CPU for data"
    if document["used"] is not None:
        kind = "GPUs" if document["gpu_hours"] else "CPUs"
        said += f"; nodes use {document['used']:.0%} of the {kind}"
        if document["used_to_last_start"] is not None:
            said += f", {document['used_to_last_start']:.0%} until the last one starts"
    return said + (f"; {document['gpu_hours']:.1f} GPU-hours" if document["gpu_hours"] else "")


def _used(stays: Mapping[str, Stay], cluster: capacity.Cluster) -> dict[str, float | None]:
    """Share of the cluster that is held from the first start to the last end, and to the last start.

    It is that of the GPUs, or of the CPUs where no node takes a GPU. None where there is no such time.
    """
    kind = "gpus" if any(stay.resources.gpus for stay in stays.values()) else "cpus"
    has, held = getattr(cluster.resources, kind), [(getattr(stay.resources, kind), stay) for stay in stays.values()]
    held = [(takes, stay) for takes, stay in held if takes]
    start = min((stay.start for _, stay in held), default=0.0)

    def until(end: float) -> float | None:
        work = sum(takes * (min(stay.end, end) - stay.start) for takes, stay in held if stay.start < end)
        return work / (has * (end - start)) if end > start else None

    return {
        "used": until(max((stay.end for _, stay in held), default=0.0)),
        "used_to_last_start": until(max((stay.start for _, stay in held), default=0.0)),
    }
