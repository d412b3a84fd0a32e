"""The same checks on every node of a cluster, by one task a node that takes no CPU."""

import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from cluster.doctor import gpus, machine, packages
from cluster.doctor.finding import Finding, Look, examine

ANSWER_WITHIN_S = 120.0
"""Seconds in which a node must have answered: its checks have limits of their own."""
CHECK_S = 10.0
"""Seconds for each of them."""
CONNECT_S = 3.0
CLOCK_S = 1.0
"""How far the clocks of two machines may be apart: records and events are ordered by time."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster, as Ray knows it."""

    id: str
    host: str
    address: str
    ports: tuple[int, ...]
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Report:
    """What a node has answered."""

    findings: Mapping[str, Finding]
    versions: dict[str, str]
    time: float
    """Unix time there, when everything else had been looked at."""


def nodes() -> list[Node]:
    """The cluster's living nodes."""
    import ray

    return [
        Node(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            (node["NodeManagerPort"], node["ObjectManagerPort"]),
            node["Resources"].get("CPU", 0.0),
            node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def ask(asked: list[Node], extra: Mapping[str, Look]) -> Iterator[tuple[Node, dict[str, Finding]]]:
    """Each node with its findings, in the order in which the nodes answer.

    Args:
        asked: the nodes.
        extra: further checks of a node, by name.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, began = ray.remote(num_cpus=0, max_retries=0)(look), time.time()
    waiting = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            node, [other for other in asked if other != node], dict(extra)
        ): node
        for node in asked
    }
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while waiting:
        answered, _ = ray.wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
        if not answered:
            break
        node = waiting.pop(answered[0])
        yield node, _findings(node, answered[0], began)
    for node in waiting.values():
        silent = f"it has not answered within {ANSWER_WITHIN_S:g} s"
        yield node, {"node": Finding("broken", silent, "look at the node: its Ray, its load, its network")}


def look(node: Node, others: list[Node], extra: Mapping[str, Look]) -> Report:
    """What the task on a node executes."""
    checks: dict[str, Look] = {
        "python": packages.python,
        "packages": packages.packages,
        "cpus": partial(machine.cpus, node.cpus),
        "memory": machine.memory,
        "shared memory": machine.shared_memory,
        "limits": machine.limits,
        "temporary folder": machine.temporary_folder,
        **extra,
    }
    findings = {name: examine(check, CHECK_S) for name, check in checks.items()}
    findings["gpus"] = examine(partial(gpus.gpus, node.gpus), gpus.LIMIT_S)
    if others:
        findings["other nodes"] = examine(partial(reach, others), limit_s=60.0)
    return Report(findings, packages.versions(), time.time())


def reach(others: list[Node]) -> Finding:
    """Whether a node gets through to the others, on ports that Ray has drawn as it does for its workers."""
    with ThreadPoolExecutor(16) as pool:
        faults = [fault for fault in pool.map(_unreachable, others) if fault]
    if faults:
        shown = ", ".join(faults[:3]) + (f" and {len(faults) - 3} more" if len(faults) > 3 else "")
        return Finding("broken", f"no way to {shown}", "open all ports between the machines of the cluster")
    return Finding("ok", f"{len(others)} reached")


def _unreachable(node: Node) -> str:
    for port in node.ports:
        try:
            socket.create_connection((node.address, port), CONNECT_S).close()
        except OSError as error:
            return f"{node.host} ({node.address}:{port}, {error})"
    return ""


def _findings(node: Node, answer: Any, began: float) -> dict[str, Finding]:
    """A node's answer, and its versions and its clock beside this machine's."""
    import ray

    try:
        report: Report = ray.get(answer)
    except Exception as error:  # of any class, as where the node has other code or none
        reason = str(error).strip().splitlines()[-1]
        remedy = "install the same version of the program there, and see whether the node still runs"
        return {"node": Finding("broken", f"it can't be looked at ({reason})", remedy)}
    found = {
        **report.findings,
        "versions": packages.differences(packages.versions(), report.versions),
        "clock": clock(report.time, began, time.time()),
    }
    good = sum(finding.status == "ok" for finding in found.values())
    has = f"{node.address}, {node.cpus:g} CPUs, {node.gpus:g} GPUs: {good} of {len(found)} checks ok"
    return {"node": Finding("ok", has), **found}


def clock(there: float, began: float, ended: float) -> Finding:
    """A node's clock, read between two readings of this machine's; less than their distance is not seen."""
    apart = max(began - there, there - ended)
    if apart > CLOCK_S:
        way = "ahead of" if there > ended else "behind"
        return Finding("warning", f"{apart:.0f} s {way} this machine's", "set the clocks by NTP, as with chronyd")
    return Finding("ok", "the same as this machine's")
