"""How well a pipeline's schedule used the cluster: work done, seconds that no schedule can beat, share used.

The work is that of the nodes that were trained, not reused, and of the data sets that were prepared for them.
"""

from typing import Any, TypedDict

from pipelines.show.display import clock

ROUNDING_S = 1.0
"""How far the seconds of a pipeline that one command has run may be from its end less its start."""


class Schedule(TypedDict):
    """Figures of a pipeline's work."""

    work_cpu_s: float
    """Seconds of all work, each times the CPUs that it held."""
    bound_s: float
    """No schedule takes less: that of the longest path, or all work on all CPUs, whichever is longer."""
    used: float
    """Share of the cluster's CPUs that it held while the pipeline ran."""


def schedule(record: dict[str, Any]) -> Schedule | None:
    """The figures of a pipeline's record; None where fewer than two nodes were trained, or by an older program, or
    before the end, or by several commands: what a node took of them is not known by command."""
    nodes = {name: node for name, node in record["nodes"].items() if not node["reused"] and node["seconds"]}
    took = record.get("ended", 0.0) - record.get("started", 0.0)
    if len(nodes) < 2 or "cpus" not in record or not 0 < record["seconds"] < took + ROUNDING_S:
        return None
    path = {place: data["seconds"] for place, data in record.get("preparations", {}).items()}
    work = sum(path.values()) + sum(node["seconds"] * node["cpus"] for node in nodes.values())
    for name, node in nodes.items():  # each after what it needs
        path[name] = node["seconds"] + max(path.get(needed, 0.0) for needed in (*node["needs"], node.get("data", "")))
    bound = max(*path.values(), work / record["cpus"])
    return {"work_cpu_s": work, "bound_s": bound, "used": work / (record["seconds"] * record["cpus"])}


def sentence(figures: Schedule, seconds: float) -> str:
    """The figures as a sentence."""
    return (
        f"{clock(figures['work_cpu_s'])} of work on CPUs, which no schedule does in less than "
        f"{clock(figures['bound_s'])}; it took {clock(seconds)} and used {figures['used']:.0%} of the CPUs"
    )
