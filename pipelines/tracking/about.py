"""What MLflow says of a run beside what the run has measured: its name, its description, and what it cost."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import labs
from labs.core.errors import BadInput
from pipelines.home import has_record, read_record, result

NOTE = "mlflow.note.content"
"""Tag that MLflow shows as the description of a run or of an experiment."""
LAB = "lab"
"""Tag that says of which lab a run or a sweep is; a trial has none, as there are many."""
SECONDS, CORE_SECONDS, GPU_SECONDS = "cost/seconds", "cost/core_seconds", "cost/gpu_seconds"
FINISHED, FAILED, REUSED = "nodes/finished", "nodes/failed", "nodes/reused"


def name(folder: Path, record: dict[str, Any]) -> str:
    """The run's name; a pipeline's has the time, as it may be run again."""
    if folder.parent.name != "pipelines":
        return str(record["name"])
    return f"{record['name']} {time.strftime('%Y-%m-%d %H:%M', time.localtime(record['created']))}"


def tags(folder: Path, record: dict[str, Any]) -> dict[str, str]:
    """The tags that people look at: the description, and the lab."""
    of_lab = {LAB: record["lab"]} if folder.parent.name in ("runs", "sweeps") else {}
    return {**of_lab, NOTE: _description(folder, record)}


def in_place_of(pipeline: Path) -> dict[str, str]:
    """The tags of a pipeline that runs one node, which has no run of its own: the node's run has them."""
    record = _record(pipeline)
    nodes = record.get("nodes", {})
    if len(nodes) != 1:
        return {}
    ran = {f"labs.node.{name}": Path(node["folder"]).name for name, node in nodes.items()}
    return {"labs.pipeline": record["name"], **ran}


def in_the_end(folder: Path, record: dict[str, Any]) -> dict[str, float]:
    """Metrics that a folder has when its work has ended: its cost, and of a pipeline what its nodes have reached."""
    nodes, seconds = record.get("nodes"), {SECONDS: record["seconds"]}
    if nodes is not None:
        return {**seconds, **_of_nodes(folder, nodes)}
    held = {CORE_SECONDS: record["params"].get("cpus"), GPU_SECONDS: record["params"].get("gpus")}
    return {**seconds, **{name: record["seconds"] * number for name, number in held.items() if number}}


def _of_nodes(folder: Path, nodes: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Counts of nodes, the core-seconds of those that were run for this pipeline, and each one's test value."""
    states = [node["status"] for node in nodes.values()]
    found: dict[str, float] = {FINISHED: states.count("FINISHED"), FAILED: states.count("FAILED"), REUSED: 0}
    found[CORE_SECONDS] = 0.0
    for name, node in nodes.items():
        run = Path(node["folder"])
        metric = f"test/{labs.heading(node['lab']).metric.name}"
        if (value := result(run).get("metrics", {}).get(metric)) is not None:
            found[f"{name}/{metric}"] = value
        record = _record(run)
        if record.get("parent") == str(folder):
            found[CORE_SECONDS] += record["seconds"] * node.get("cpus", 1)
        elif record:
            found[REUSED] += 1
    return found


def _record(folder: Path) -> dict[str, Any]:
    """Another folder's record; empty where it has not begun, or was damaged, which `labs sync` says of it."""
    with suppress(BadInput):
        return read_record(folder) if has_record(folder) else {}
    return {}


def _description(folder: Path, record: dict[str, Any]) -> str:
    """Two sentences, as Markdown: what it is, and how to repeat it."""
    kind = folder.parent.name
    if kind == "pipelines":
        return _of_pipeline(folder, record)
    if kind == "sweeps":
        return _of_sweep(record)
    trial = f"Trial {folder.name} of a sweep, judged on validation data. " if kind == "trials" else ""
    return f"{trial}{_of_run(record)}"


def _of_run(record: dict[str, Any]) -> str:
    heading, data = labs.heading(record["lab"]), record["data"]
    origin = {"generated": "generated data", "environment": "its environment"}.get(data["origin"], data["source"])
    asked = (f"--{name} {record[name]}" for name in ("preset", "size", "seed"))
    command = record.get("command", " ".join([f"labs train {record['lab']}", *asked]))  # an earlier version noted none
    return (
        f"Lab {heading.number}, **{heading.title}** ({heading.name}): preset {record['preset']} at size "
        f"{record['size']}, seed {record['seed']}, on {origin}. Repeat: `{command}`."
    )


def _of_sweep(record: dict[str, Any]) -> str:
    params, metric = record["params"], labs.heading(record["lab"]).metric
    chosen = ("preset", "size", "seed", "search", "scheduler")
    command = " ".join([f"labs tune {params['lab']}", *(f"--{name} {params[name]}" for name in chosen)])
    word = "lowest" if metric.goal == "min" else "highest"
    return (
        f"A search for the settings of lab **{record['lab']}**, preset {params['preset']} at size {params['size']}, "
        f"with the {word} val/{metric.name}; its trials are below it. Repeat or extend: `{command}`."
    )


def _of_pipeline(folder: Path, record: dict[str, Any]) -> str:
    nodes = record["nodes"]
    names = sorted({node["lab"] for node in nodes.values()}, key=labs.names().index)
    spec = folder / "spec.yaml"
    if spec.exists() and spec.read_text():
        again = "`labs pipeline run spec.yaml`, with the file `spec.yaml` from *Artifacts*"
    else:
        last = Path(list(nodes.values())[-1]["folder"])  # what the command was for stands behind what it needs
        command = _record(last).get("command", "")
        again = f"`{command}`" if command else "the same command"
    return (
        f"Pipeline **{record['name']}** of {len(nodes)} runs, of {', '.join(names)}; those that it did not take from "
        f"earlier commands are below it. Repeat: {again}."
    )
