"""Whether all nodes of a cluster share the home folder, found out before anything starts there."""

import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from cluster.errors import ClusterError

ANSWER_WITHIN_S = 30.0
SEEN_WITHIN_S = 3.0
"""How long a network's file system may take to show a new file to another machine."""


def require(home: Path, warn: Callable[[str], None]) -> None:
    """Check that each of several nodes sees the home folder; a cluster of one node is not asked.

    Args:
        home: the home folder.
        warn: takes one sentence if nodes did not answer in time, which is no reason not to start.

    Raises:
        ClusterError: nodes that do not see it.
    """
    import ray

    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(names) < 2:
        return
    blind, silent = ask(home, names)
    if blind:
        raise ClusterError(missing_on(home, (names[node] for node in blind)))
    if silent:
        warn(unknown_on(home, (names[node] for node in silent)))


def ask(home: Path, nodes: Iterable[str]) -> tuple[set[str], set[str]]:
    """The nodes that do not see the home folder, and those that have not answered in time."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    sign = home / f"seen-{uuid.uuid4().hex}"
    sign.touch()
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(sees)
        asked = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(sign): node
            for node in nodes
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_WITHIN_S)
        return {asked[ref] for ref in answered if not _answer(ref)}, {asked[ref] for ref in silent}
    finally:
        sign.unlink()


def missing_on(home: Path, names: Iterable[str]) -> str:
    """The sentence about nodes that do not see the home folder."""
    return (
        f"the home folder {home} is not there on {', '.join(sorted(names))}: put it on storage that all nodes of the "
        "cluster share, and name it (--home, LABS_HOME)"
    )


def unknown_on(home: Path, names: Iterable[str]) -> str:
    """The sentence about nodes that have not answered."""
    who = ", ".join(sorted(names))
    return f"warning: {who} did not say within {ANSWER_WITHIN_S:g} s whether the home folder {home} is there"


def sees(sign: Path) -> bool:
    """What a task on each node executes."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while not sign.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _answer(ref: object) -> bool:
    """What the task has seen; a node that has left meanwhile is no reason not to start."""
    import ray

    try:
        return bool(ray.get(ref))
    except ray.exceptions.RayError:
        return True
