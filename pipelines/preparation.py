"""The data sets that nodes wait for: each is a unit of work of one CPU, beside the nodes that have theirs.

A node's fingerprint has the content of a data folder, so data from folders are prepared before there is a plan.
Generated data have their name from what they are made from, and need not be there for that.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import torch

import labs
from cluster import capacity
from labs.core import shards
from pipelines import datasets, home_files
from pipelines.changing_cluster import ChangingCluster
from pipelines.error_file import first_line, is_out_of_memory
from pipelines.execution import Ending, Execution
from pipelines.interrupts import Interrupts, abandoned
from pipelines.reporter import Reporter
from pipelines.spec import Node
from pipelines.torch_lock import TORCH_LOCK

TICK_S = 0.2
BRIEF_S = 60.0
"""What takes less is not worth a process of its own, which takes seconds to read the lesson, while Ray starts."""
RETRIES = 3
"""How often a task is started again whose process or machine was lost."""
What = tuple[str, str, Path | None]
"""Lab, size, and the folder that the data come from."""


class Preparation(Execution):
    """One data set's preparation.

    Args:
        home: the home folder.
        node: one of the nodes that need the data.
        seconds: an estimate of the seconds that it takes.
    """

    def __init__(self, home: Path, node: Node, seconds: float) -> None:
        self.home, self.what, self.seconds = home, _what(node), seconds
        self.place = _place(home, self.what)
        self.begun: Future[None] | None = None

    @property
    def lab(self) -> str:
        """The lab whose data they are."""
        return self.what[0]

    def begin_here(self) -> None:
        """Begin in a thread of this process, which has read the lesson already."""
        self.begun = future = Future[None]()

        def prepare() -> None:
            try:
                self._prepare_here()
            except BaseException as error:  # it belongs to the thread that calls `run`
                future.set_exception(error)
            else:
                future.set_result(None)

        threading.Thread(target=prepare, name="data", daemon=True).start()

    def run(self) -> Ending:
        """Prepare the data in a Ray task, or in this process if Ray is not connected.

        Raises:
            BaseException: what the task raised.
        """
        start = time.monotonic()
        if self.begun:
            self.begun.result()
        elif not capacity.is_connected():
            self._prepare_here()
        elif home_files.find() is None:
            self._prepare_in_task("SPREAD")
        else:  # only this machine has the home folder
            import ray
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            with _places_here():
                node = ray.get_runtime_context().get_node_id()
                self._prepare_in_task(NodeAffinitySchedulingStrategy(node, soft=False))
        return Ending("FINISHED", seconds=time.monotonic() - start)

    def failure(self, error: BaseException) -> Ending:
        """The error, with the name of the lab."""
        return Ending("FAILED", f"data of lab {self.lab}: {first_line(error)}")

    def _prepare_here(self) -> None:
        with TORCH_LOCK:
            _prepare(self.home, *self.what)

    def _prepare_in_task(self, strategy: Any) -> None:
        """It takes no CPU of Ray's, which may count one for workers that wait for a job: the scheduler counts it.

        Where memory runs out, Ray itself would try again for ever.
        """
        import ray

        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(_prepare)
        for lost_before in range(RETRIES + 1):
            try:
                return raise_error_of(task.remote(self.home, *self.what).future())
            except ray.exceptions.RayError as lost:
                if is_out_of_memory(lost) or lost_before == RETRIES:
                    raise


@cache
def _places_here() -> threading.Semaphore:
    """As many data sets as this machine prepares at a time where others do not see the home folder."""
    return threading.Semaphore(int(capacity.local().cpus))


def begin_first(missing: Mapping[str, Preparation], remaining: Mapping[str, float]) -> None:
    """Begin in this process, while Ray starts, with the data that the longest path waits for.

    Args:
        missing: the data sets by their names.
        remaining: name -> seconds of the longest path from it to the pipeline's end.
    """
    brief = [name for name, preparation in missing.items() if len(missing) == 1 or preparation.seconds < BRIEF_S]
    if brief:
        missing[max(brief, key=remaining.__getitem__)].begin_here()


def check(home: Path, nodes: Collection[Node], reporter: Reporter) -> None:
    """Check the folders that nodes name and whose data are not prepared yet.

    Raises:
        BadInput: one of them is broken; nothing has started yet.
    """
    for node in _missing(home, nodes).values():
        if node.data is not None:
            with reporter.status(f"checking {node.data}"):
                datasets.check(labs.get(node.lab), node.data)


def places(home: Path, nodes: Collection[Node]) -> dict[str, Path]:
    """Node name -> where its prepared data are, or would be. A folder that many nodes name is listed once."""
    found = {what: _place(home, what) for what in set(map(_what, nodes))}
    return {node.name: found[_what(node)] for node in nodes}


def is_prepared(home: Path, nodes: Collection[Node]) -> bool:
    """Whether the data of all these nodes are there."""
    return not _missing(home, nodes)


def prepare(home: Path, nodes: Collection[Node], interrupts: Interrupts, reporter: Reporter) -> bool:
    """Prepare what is not there yet, data sets side by side; False when interrupted.

    Raises:
        ConnectionLost: the cluster's head node has stopped answering.
    """
    missing = [Preparation(home, node, 0.0) for node in _missing(home, nodes).values()]
    if len(missing) == 1:
        missing[0].begin_here()
    cluster = ChangingCluster(home, capacity.total(), reporter.say)
    executor = ThreadPoolExecutor(max(1, int(cluster.usable.resources.cpus)), thread_name_prefix="data")
    waiting = {executor.submit(preparation.run): preparation for preparation in missing}
    try:
        with reporter.status("preparing data") as status:
            while waiting and not interrupts.count:
                cluster.look()
                status.update(f"preparing data of {_packed_so_far(waiting.values())}")
                for future in wait(waiting, TICK_S, FIRST_COMPLETED).done:
                    del waiting[future]
                    raise_error_of(future)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        if waiting:
            abandoned.set()
    if waiting:
        reporter.say("interrupted while data were prepared: nothing was trained with them; the same command starts it")
    return not waiting


def _packed_so_far(waiting: Iterable[Preparation]) -> str:
    """Each lab whose data are being prepared, with the megabytes that are packed already."""
    packed = {each.lab: datasets.packed_bytes(each.place) for each in waiting}
    return ", ".join(f"{lab} ({size / 1e6:.0f} MB packed)" for lab, size in sorted(packed.items()))


def raise_error_of(future: Future[Any]) -> None:
    """Wait for the end, and raise the error that the task raised, without Ray's traceback in its message."""
    error = future.exception()
    if error is not None:
        raise getattr(error, "cause", error) from error


def _prepare(home: Path, lab: str, size: str, source: Path | None) -> None:
    """What a Ray task or a thread executes, on one CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        datasets.prepared(home, labs.get(lab), size, source)
    finally:
        torch.set_num_threads(threads)


def _what(node: Node) -> What:
    return node.lab, node.size, node.data


def _place(home: Path, what: What) -> Path:
    return datasets.location(home, labs.get(what[0]), *what[1:])


def _missing(home: Path, nodes: Collection[Node]) -> dict[What, Node]:
    """A node for each data set that is not there yet."""
    found = {_what(node): node for node in nodes if labs.get(node.lab).data is not None}
    return {what: node for what, node in found.items() if not (_place(home, what) / shards.MANIFEST).exists()}
