"""Whether all nodes of a cluster share the home folder, found out before anything starts there."""

import time
import uuid
from collections.abc import Callable
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
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(names) < 2:
        return
    sign = home / f"seen-{uuid.uuid4().hex}"
    sign.touch()
    try:
        task = ray.remote(num_cpus=0, max_retries=0)(sees)
        asked = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(sign): name
            for node, name in names.items()
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_WITHIN_S)
        blind = sorted({asked[ref] for ref in answered if not _answer(ref)})
    finally:
        sign.unlink()
    if blind:
        raise ClusterError(
            f"the home folder {home} is not there on {', '.join(blind)}: put it on storage that all nodes of the "
            "cluster share, and name it (--home, LABS_HOME)"
        )
    if silent:
        missing = ", ".join(sorted({asked[ref] for ref in silent}))
        warn(f"warning: {missing} did not say within {ANSWER_WITHIN_S:g} s whether the home folder {home} is there")


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
