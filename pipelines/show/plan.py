"""What a pipeline would do, for `labs pipeline plan`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import labs
from cluster import capacity
from cluster.errors import ClusterError
from pipelines import datasets
from pipelines.node import resources
from pipelines.plan import makespan, plan
from pipelines.spec import Node


def plan_document(home: Path, nodes: list[Node], cluster: capacity.Cluster) -> dict[str, Any]:
    """What `labs pipeline plan --json` prints; nothing is made or started.

    A node whose data are not made yet counts as not cached.
    """
    faults, rows = [], []
    for node in nodes:
        try:
            resources(node, cluster)
        except ClusterError as error:
            faults.append(str(error))
    if faults:
        return {"nodes": [], "makespan_s": 0.0, "bound_s": 0.0, "fits": False, "faults": faults}
    data: dict[str, Path] = {}
    for node in nodes:
        lab = labs.get(node.lab)
        data[node.name] = datasets.location(home, lab, node.size, node.data)
    planned = plan(home, nodes, cluster, data)
    for name, p in planned.items():
        needed = asdict(capacity.in_all(p.bundles))
        cached = p.finished()
        rows.append({"name": name, "cached": cached, "seconds": 0.0 if cached else p.seconds, "resources": needed})
    length, bound = makespan(planned, cluster)
    return {"nodes": rows, "makespan_s": length, "bound_s": bound, "fits": True, "faults": []}
