"""What a job needs and what a cluster has, so that a job that can never fit fails at once instead of waiting for ever.

This module does not import Ray, so that a plan for this machine takes milliseconds.
"""

import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pynvml

from cluster.errors import ClusterError


@dataclass(frozen=True)
class Resources:
    """Processors of a job, a machine or a cluster; fractions of one can be asked for, as in Ray.

    Numbers are kept to ten-thousandths, Ray's own unit, so that 1 - 0.3 - 0.1 + 0.3 + 0.1 is 1 again.
    """

    cpus: float
    gpus: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus"):
            object.__setattr__(self, name, round(getattr(self, name), 4))

    def fits(self, within: "Resources") -> bool:
        """Whether `within` has enough of both."""
        return self.cpus <= within.cpus and self.gpus <= within.gpus

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.cpus + other.cpus, self.gpus + other.gpus)

    def __sub__(self, other: "Resources") -> "Resources":
        return Resources(self.cpus - other.cpus, self.gpus - other.gpus)


Bundles = tuple[Resources, ...]
"""What a job takes: each of its processes goes to one node as a whole."""


def in_all(parts: Iterable[Resources]) -> Resources:
    """The sum."""
    return sum(parts, start=Resources(0.0))


def gpu_share(gpus: float) -> float:
    """What a process occupies that asks for so many GPUs: a fraction lies on one GPU, so 0.6 leaves no room for 0.6."""
    return 1 / math.floor(1 / gpus + 1e-9) if 0 < gpus < 1 else gpus


@dataclass(frozen=True)
class Cluster:
    """The nodes of a cluster: name -> what the node has in all."""

    nodes: Mapping[str, Resources]
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Name -> the host that people know the node by, where that is not its name."""

    @property
    def resources(self) -> Resources:
        """What all nodes have together."""
        return in_all(self.nodes.values())

    def host(self, name: str) -> str:
        """What people call a node."""
        return self.hosts.get(name, name)

    def __str__(self) -> str:
        gpus = f", {_count(self.resources.gpus, 'GPU')}" if self.resources.gpus else ""
        return f"{_count(len(self.nodes), 'node')}, {_count(self.resources.cpus, 'CPU')}{gpus}"


class Room:
    """What is free of a cluster, node by node, while jobs come and go.

    Ray chooses the nodes in the end. What fits here, first fit and the largest part first, fits there as well.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.free = dict(cluster.nodes)
        """Node -> what is free of it."""
        self.held: dict[str, list[tuple[str, Resources]]] = {}
        """Job -> the node of each of its parts."""

    def copy(self) -> "Room":
        """The same room, to try things in."""
        other = Room(self.cluster)
        other.free, other.held = dict(self.free), dict(self.held)
        return other

    def take(self, job: str, bundles: Bundles) -> bool:
        """Hold what a job needs; False, and nothing is held, where that is not free."""
        free, placed = dict(self.free), []
        for bundle in sorted(bundles, key=lambda bundle: (-bundle.gpus, -bundle.cpus)):
            # Like Ray, with what asks for no GPU on nodes without one.
            node = next((name for name in sorted(free, key=lambda n: free[n].gpus) if bundle.fits(free[name])), None)
            if node is None:
                return False
            free[node] = free[node] - bundle
            placed.append((node, bundle))
        self.free, self.held[job] = free, placed
        return True

    def give_back(self, job: str) -> None:
        """Free what a job held."""
        for node, bundle in self.held.pop(job):
            self.free[node] = self.free[node] + bundle

    def update(self, cluster: Cluster) -> None:
        """Nodes have joined or left. Ray starts the processes of a node that left on others, so they take room there.

        Where there is none they wait, and hold nothing.
        """
        held, self.cluster, self.held, self.free = self.held, cluster, {}, dict(cluster.nodes)
        displaced = {job for job, placed in held.items() if any(node not in cluster.nodes for node, _ in placed)}
        for job, placed in held.items():
            if job not in displaced:
                self.held[job] = placed
                for node, bundle in placed:
                    self.free[node] = self.free[node] - bundle
        for job in displaced:
            if not self.take(job, tuple(bundle for _, bundle in held[job])):
                self.held[job] = []


def local() -> Resources:
    """What this process may use of this machine: its CPU affinity and container limit, and the visible GPUs."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Resources(max(1, min(affinity, _container_cpus())), _gpus())


def is_connected() -> bool:
    """Whether this process is connected to a Ray cluster."""
    # A thread that imports Ray just now has made a module that has nothing yet.
    is_initialized = getattr(sys.modules.get("ray"), "is_initialized", None)
    return is_initialized is not None and is_initialized()


def total() -> Cluster:
    """The cluster that this process is connected to, or else this machine as its only node."""
    if not is_connected():
        return Cluster({"this machine": local()})
    import ray

    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    has = {name: node["Resources"] for name, node in alive.items()}
    return Cluster(
        {name: Resources(own.get("CPU", 0.0), own.get("GPU", 0.0)) for name, own in has.items()},
        {name: node["NodeManagerHostname"] for name, node in alive.items()},
    )


def require(what: str, bundles: Bundles, within: Cluster, remedy: str = "") -> None:
    """Check that a job can run on an otherwise idle cluster.

    Args:
        what: the job, as the subject of the message, such as "training cnn with 4 workers".
        bundles: what each of its processes takes.
        within: the cluster.
        remedy: what the message ends with.

    Raises:
        ClusterError: it can't; the message has the numbers of both.
    """
    needed, has = in_all(bundles), within.resources
    short = [
        (_count(need, kind), _number(there))
        for kind, need, there in (("CPU", needed.cpus, has.cpus), ("GPU", needed.gpus, has.gpus))
        if need > there
    ]
    if short:
        needs, there = (" and ".join(numbers) for numbers in zip(*short, strict=True))
        raise ClusterError(f"{what} needs {needs}, the cluster has {there} in all{remedy}")
    if not Room(within).take(what, bundles):
        gpus = needed.gpus > 0
        parts = " and ".join(f"{n} times {_described(part, gpus)}" for part, n in Counter(bundles).items())
        nodes = " and ".join(
            f"{_count(n, 'node')} of {_described(node, gpus)}" for node, n in Counter(within.nodes.values()).items()
        )
        raise ClusterError(f"{what} needs {parts}, each time on one node; the cluster has {nodes}{remedy}")


def _described(resources: Resources, gpus: bool) -> str:
    """What a process takes or a node has; the GPUs only where they matter."""
    return _count(resources.cpus, "CPU") + (f" with {_count(resources.gpus, 'GPU')}" if gpus else "")


def _count(number: float, kind: str) -> str:
    return f"{_number(number)} {kind}{'' if number == 1 else 's'}"


def _number(number: float) -> str:
    return f"{number:.15g}"  # six digits, the default, would make a million 1e+06


def _container_cpus(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs that the container's scheduler grants: a machine shows all of its own to a container limited to two."""
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # cgroup v2, v1
        try:
            quota, period = " ".join((groups / file).read_text() for file in files).split()
        except (OSError, ValueError):
            continue
        return float("inf") if quota in ("max", "-1") else int(quota) // int(period)
    return float("inf")


def _gpus() -> int:
    """Visible GPUs, without torch's two seconds of import."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, or no NVIDIA GPU
        return 0
    try:
        return _visible(pynvml.nvmlDeviceGetCount(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    finally:
        pynvml.nvmlShutdown()


def _visible(present: int, allowed: str | None) -> int:
    """How many of the GPUs CUDA would show: it reads its list up to the first entry that is not there."""
    if allowed is None:
        return present
    count = 0
    for entry in allowed.split(","):
        name = entry.strip()
        if not name.startswith(("GPU-", "MIG-")) and not (name.isdigit() and int(name) < present):
            break
        count += 1
    return count
