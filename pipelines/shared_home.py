"""Which nodes of a cluster see the home folder, found out before anything starts there; the others are served."""

import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from pipelines import home_files

ANSWER_WITHIN_S = 30.0
SEEN_WITHIN_S = 3.0
"""How long a network's file system may take to show a new file to another machine."""


def serve_nodes_without_it(home: Path, say: Callable[[str], None]) -> None:
    """Ask each of several nodes whether it sees the home folder, and serve those that do not.

    Args:
        home: the home folder.
        say: takes one sentence about nodes that do not see it, and one about nodes that did not answer in time.
    """
    import ray

    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    if len(names) < 2 or home_files.find():
        return
    lacking, silent = ask(home, names)
    if lacking or silent:
        home_files.serve(lacking)
    if lacking:
        say(served(home, (names[node] for node in lacking)))
    if silent:
        say(unknown_on(home, (names[node] for node in silent)))


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


def served(home: Path, names: Iterable[str]) -> str:
    """The sentence about nodes that do not see the home folder."""
    who = ", ".join(sorted(names))
    return f"no home folder {home} on {who}: data go there, and results come from there, through Ray"


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
