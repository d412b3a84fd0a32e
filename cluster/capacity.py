"""What a job needs and what a cluster has, so that a job that can never fit fails at once instead of waiting for ever.

This module does not import Ray, so that a plan for this machine takes milliseconds.
"""

import os
import sys
from dataclasses import dataclass
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


def local() -> Resources:
    """What this process may use of this machine: its CPU affinity and container limit, and the visible GPUs."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Resources(max(1, min(affinity, _container_cpus())), _gpus())


def total() -> Resources:
    """What the cluster that this process is connected to has in all, or else this machine."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return local()
    held = ray.cluster_resources()
    return Resources(held.get("CPU", 0.0), held.get("GPU", 0.0))


def require(what: str, needed: Resources, within: Resources) -> None:
    """Check that a job can run on an otherwise idle cluster.

    Args:
        what: the job, as the subject of the message, such as "training cnn with 4 workers".
        needed: what it takes.
        within: what the cluster has in all.

    Raises:
        ClusterError: it can't; the message has both numbers.
    """
    short = [
        (_count(need, kind), f"{has:g}")
        for kind, need, has in (("CPU", needed.cpus, within.cpus), ("GPU", needed.gpus, within.gpus))
        if need > has
    ]
    if short:
        needs, has = (" and ".join(numbers) for numbers in zip(*short, strict=True))
        raise ClusterError(f"{what} needs {needs}, the cluster has {has} in all")


def _count(number: float, kind: str) -> str:
    return f"{number:g} {kind}{'' if number == 1 else 's'}"


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
