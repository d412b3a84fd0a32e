"""The data of a pipeline's nodes, prepared before the first of them trains."""

from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import labs
from cluster import capacity
from labs.core import shards
from pipelines import datasets, home_files
from pipelines.changing_cluster import ChangingCluster
from pipelines.interrupts import Interrupts, abandoned
from pipelines.ray_train import end_idle
from pipelines.reporter import Reporter
from pipelines.spec import Node

TICK_S = 0.2
What = tuple[str, str, Path | None]
"""Lab, size, and the folder that the data come from."""


def found(home: Path, nodes: Collection[Node], reporter: Reporter) -> dict[str, Path] | None:
    """Node name -> prepared data; None where some are not prepared yet.

    Raises:
        BadInput: a folder that any of the nodes names is broken; nothing has started yet.
    """
    missing = [what for what in dict.fromkeys(map(_what, nodes)) if not _is_there(home, what)]
    for lab, _, source in missing:
        if source is not None:
            with reporter.status(f"checking {source}"):
                datasets.check(labs.get(lab), source)
    return None if missing else places(home, nodes)


def places(home: Path, nodes: Collection[Node]) -> dict[str, Path]:
    """Node name -> where its prepared data are, or would be. A folder that many nodes name is listed once."""
    found = {what: _place(home, what) for what in set(map(_what, nodes))}
    return {node.name: found[_what(node)] for node in nodes}


def prepare(home: Path, nodes: Collection[Node], interrupts: Interrupts, reporter: Reporter) -> dict[str, Path] | None:
    """Prepare what is not there yet, several data sets side by side in Ray tasks; None when interrupted.

    One alone is prepared in a thread of this process, which has read the lesson already: a new process takes seconds
    for that.

    Raises:
        ConnectionLost: the cluster's head node has stopped answering.
    """
    missing = [what for what in dict.fromkeys(_what(node) for node in nodes) if not _is_there(home, what)]
    there = {what: _place(home, what) for what in missing}
    in_tasks = len(missing) > 1 and capacity.is_connected()
    cluster = ChangingCluster(home, capacity.total(), reporter.say)
    executor = ThreadPoolExecutor(int(capacity.local().cpus) if in_tasks else 1, thread_name_prefix="data")
    waiting = (
        _in_tasks(home, missing, executor) if in_tasks else {executor.submit(_prepare, home, *w): w for w in missing}
    )
    try:
        with reporter.status("preparing data") as status:
            while waiting and not interrupts.count:
                cluster.look()
                status.update(f"preparing data of {_packed_so_far({w[0]: there[w] for w in waiting.values()})}")
                for future in wait(waiting, TICK_S, FIRST_COMPLETED).done:
                    del waiting[future]
                    raise_error_of(future)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        if waiting:
            abandoned.set()
    if waiting:
        reporter.say("interrupted while data were prepared: nothing was trained with them; the same command starts it")
        return None
    return places(home, nodes)


def _in_tasks(home: Path, missing: Collection[What], executor: ThreadPoolExecutor) -> dict[Future[Any], What]:
    """Ray ends the tasks that are left when this process ends.

    If there are nodes that do not see the home folder, all run on this one, which may have no CPU for Ray: as many at a
    time as the executor has threads.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    end_idle()
    if home_files.find() is None:
        task = ray.remote(num_cpus=1)(_prepare)
        return {task.remote(home, *what).future(): what for what in missing}
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    local = ray.remote(num_cpus=0, scheduling_strategy=here)(_prepare)

    def wait_for(what: What) -> None:
        ray.get(local.remote(home, *what))

    return {executor.submit(wait_for, what): what for what in missing}


def _prepare(home: Path, lab: str, size: str, source: Path | None) -> None:
    """What a Ray task or a thread executes."""
    datasets.prepared(home, labs.get(lab), size, source)


def raise_error_of(future: Future[Any]) -> None:
    """The error that the task raised, without Ray's traceback in its message."""
    error = future.exception()
    if error is not None:
        raise getattr(error, "cause", error) from error


def _what(node: Node) -> What:
    return node.lab, node.size, node.data


def _place(home: Path, what: What) -> Path:
    return datasets.location(home, labs.get(what[0]), *what[1:])


def _is_there(home: Path, what: What) -> bool:
    return labs.get(what[0]).data is None or (_place(home, what) / shards.MANIFEST).exists()


def _packed_so_far(places: Mapping[str, Path]) -> str:
    """Each lab whose data are being prepared, with the megabytes that are packed already."""
    packed = {lab: datasets.packed_bytes(place) for lab, place in places.items()}
    return ", ".join(f"{lab} ({size / 1e6:.0f} MB packed)" for lab, size in sorted(packed.items()))
