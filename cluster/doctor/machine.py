"""Checks of one machine: what a Ray that starts there, and the workers on it, need of its settings."""

import os
import resource
import shutil
import socket
import stat
import urllib.request
from pathlib import Path

import psutil

from cluster import capacity, connect, environment, starting
from cluster.doctor.finding import Finding

MEMORY_GB = 2.0  # cnn at size tiny with one worker on 2 CPUs takes 1.9 GB, Ray and the command itself included
SHARED_MEMORY_GB = starting.OBJECT_STORE_BYTES / 2**30
HEAD_PORTS = {6379: "of the head node", 8265: "of the job server", 52365: "of a node's agent"}
FULL = 0.95
"""Ray makes no object on a disk that is fuller than that."""


def token() -> Finding:
    """Whether there is a token that other users can't read."""
    if "RAY_AUTH_TOKEN" in os.environ:
        return Finding("ok", "in RAY_AUTH_TOKEN")
    if not connect.has_token():
        if os.environ.get("RAY_ADDRESS"):
            return Finding(
                "warning",
                "there is none, so a cluster lets in whoever reaches it",
                "start the cluster with RAY_AUTH_MODE=token, and copy its head node's ~/.ray/auth_token",
            )
        return Finding("ok", "there is none: a Ray that a command starts here gets one of its own")
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        return Finding("broken", f"other users can read or write {file} (mode {mode:o})", f"chmod 600 {file}")
    return Finding("ok", f"in {file}")


def ports() -> Finding:
    """Whether a head node can start here with the ports that `ray start` takes."""
    if taken := [f"{port} ({use})" for port, use in HEAD_PORTS.items() if _is_taken(port)]:
        return Finding(
            "warning",
            f"taken on this machine: {', '.join(taken)}",
            "RAY_ADDRESS joins a cluster that runs here; otherwise give `ray start --head` other ports",
        )
    return Finding("ok", f"free for a head node: {', '.join(map(str, HEAD_PORTS))}")


def cpus(ray_counts: float | None = None) -> Finding:
    """The CPUs that a container's limit and the affinity grant, against those that the machine has and Ray counts."""
    granted, there = capacity.local().cpus, os.cpu_count() or 1
    if ray_counts is not None and ray_counts > granted:
        return Finding(
            "warning",
            f"Ray counts {ray_counts:g} CPUs, and this node grants {granted:g}",
            f"start it with ray start --num-cpus={granted:g}",
        )
    return Finding("ok", f"{granted:g}" if granted == there else f"{granted:g} of {there}, by this container's limit")


def memory() -> Finding:
    """Whether a training job fits into what is free."""
    there, limit = psutil.virtual_memory(), _container_memory()
    total, free = (min(number, limit) / 2**30 for number in (there.total, there.available))
    found = f"{free:.1f} GB free of {total:.1f} GB"
    if free < MEMORY_GB:
        return Finding(
            "broken" if total < MEMORY_GB else "warning",
            f"{found}, a job with one worker takes {MEMORY_GB:g} GB",
            "end other programs, or give this machine or container more memory",
        )
    return Finding("ok", found)


def shared_memory() -> Finding:
    """Whether Ray's objects fit into shared memory; NCCL and PyTorch's loaders need it as well."""
    place = Path("/dev/shm")
    free = shutil.disk_usage(place).free / 2**30 if place.exists() else 0.0
    if free < SHARED_MEMORY_GB:
        return Finding(
            "warning",
            f"{free * 1024:.0f} MB free in {place}, Ray's objects need {SHARED_MEMORY_GB * 1024:.0f} MB",
            "give the container more: docker run --shm-size=2g, or a memory-backed emptyDir at /dev/shm of a pod",
        )
    return Finding("ok", f"{free:.1f} GB free in {place}")


def limits() -> Finding:
    """Whether this user may open as many files and start as many threads as Ray does."""
    environment.check_limits()
    files, threads = (resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    shown = [f"{n if n != resource.RLIM_INFINITY else 'any number of'}" for n in (files, threads)]
    return Finding("ok", f"{shown[0]} open files and {shown[1]} threads are allowed")


def temporary_folder() -> Finding:
    """Whether Ray's sockets have a path that is short enough, and its objects a disk that is not full."""
    named = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    short = environment.short_folder()
    used = shutil.disk_usage(Path(short).parent if short else named)
    if used.free < (1 - FULL) * used.total:
        return Finding(
            "broken",
            f"the disk of {named} is more than {FULL:.0%} full, so Ray makes no object there",
            "make room, or set RAY_TMPDIR to a folder on another disk",
        )
    if short:
        return Finding(
            "warning",
            f"{named} is too long for Ray's sockets: commands that start a Ray use {short} in its place",
            f"give `ray start` a --temp-dir of at most {environment.FOLDER_BYTES} characters",
        )
    return Finding("ok", f"{named}, {used.free / 2**30:.1f} GB free")


def proxies() -> Finding:
    """Whether a proxy would catch what processes of this machine say to each other."""
    named = [name for name in urllib.request.getproxies_environment() if name in ("http", "https", "all")]
    caught = [host for host in environment.LOOPBACK if not urllib.request.proxy_bypass(host)]
    if named and caught:
        return Finding(
            "warning",
            f"a proxy is set that would catch {' and '.join(caught)}: labs goes past it, other programs do not",
            f"export NO_PROXY={','.join(environment.LOOPBACK)}, and add the cluster's own addresses",
        )
    return Finding("ok", "loopback goes past the proxy that is set" if named else "none is set")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def _container_memory(groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that the container's limit grants."""
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        try:
            return float((groups / file).read_text().strip().replace("max", "inf"))
        except (OSError, ValueError):
            continue
    return float("inf")
