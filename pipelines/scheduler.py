"""Runs a pipeline's nodes, and prepares the data that they wait for, side by side into what the cluster has free.

The pipeline's folder records each one's status; whoever shows the pipeline, in this process or another, reads it.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from cluster import capacity
from cluster.errors import ClusterError, ConnectionLost
from pipelines.backfill import BackfillQueue, Demand
from pipelines.changing_cluster import ChangingCluster
from pipelines.execution import Ending, Execution, NodeExecution
from pipelines.home import Status, read_record, write_record
from pipelines.interrupts import Interrupts, abandoned
from pipelines.node import PlannedNode
from pipelines.preparation import Preparation
from pipelines.ray_train import end_idle
from pipelines.tuning.sweep import PlannedSweep

TICK_S = 0.1
ROOM_WAIT_S = 600.0
"""How long nodes that fit nowhere wait for nodes of the cluster that have left."""
WRITE_SHARE = 0.05
"""Share of the time that may go into writing the pipeline's record, which has all of its nodes: of many nodes, several
changes go into one write. What the nodes do is in their own records, at once."""
ENDED = ("FINISHED", "FAILED", "KILLED", "BLOCKED")


class Scheduler:
    """One execution of a pipeline.

    Each unit of work, a node or a data set that nodes wait for, runs in a thread of its own. This object belongs to the
    thread that calls `run`: it alone starts units and writes the pipeline's record, and it learns how a unit ended, or
    which error its thread raised, from a future.

    Args:
        folder: the pipeline's folder.
        planned: the nodes, in an order in which each follows what it needs.
        missing: the data sets that nodes wait for; see `plan.missing_data`.
        ahead: what both ask for; see `plan.demand`.
        cluster: the cluster.
    """

    def __init__(
        self,
        folder: Path,
        planned: Mapping[str, PlannedNode],
        missing: Mapping[str, Preparation],
        ahead: Demand,
        cluster: ChangingCluster,
    ) -> None:
        self.folder, self.planned, self.missing, self.demand, self.cluster = folder, planned, missing, ahead, cluster
        self.had_room_at = time.monotonic()
        self.queue = BackfillQueue(self.demand, cluster.usable)
        self.sorter = TopologicalSorter(self.demand.needs)
        self.sorter.prepare()
        self.running: dict[str, tuple[Execution, Future[Ending]]] = {}
        self.nodes = {name: describe(p) for name, p in planned.items()}
        self.data: dict[str, dict[str, Any]] = {
            place: {"lab": p.lab, "status": "WAITING", "error": "", "seconds": 0.0} for place, p in missing.items()
        }
        self.has_unwritten = False
        self.write_at = 0.0
        """When the record may be written next."""

    def run(self, interrupts: Interrupts, tick: Callable[[], None]) -> Status:
        """Run to the end, or until interrupted and saved; returns the pipeline's status.

        Args:
            interrupts: its count is read between ticks.
            tick: called several times a second, for the display.
        """
        start, before = time.time(), read_record(self.folder)["seconds"]
        cpus = self.cluster.usable.resources.cpus
        write_record(
            self.folder, status="RUNNING", started=start, error="", nodes=self.nodes, preparations=self.data, cpus=cpus
        )
        executor, error = ThreadPoolExecutor(len(self.planned) + len(self.missing), thread_name_prefix="node"), ""
        try:
            self._run_nodes(executor, interrupts, tick)
        except ConnectionLost as lost:
            error = str(lost)
            for execution, _ in self.running.values():
                execution.give_up()
        finally:
            executor.shutdown(wait=False)
            if self.running:
                abandoned.set()
            write_record(self.folder, nodes=self.nodes, preparations=self.data)
        status = self._verdict(interrupted=bool(interrupts.count))
        write_record(
            self.folder,
            status=status,
            error=error,
            ended=time.time(),
            seconds=before + time.time() - start,
            nodes=self.nodes,
            preparations=self.data,
            end_tags={f"labs.node.{name}": Path(node["folder"]).name for name, node in self.nodes.items()},
        )
        tick()
        return status

    def _run_nodes(self, executor: ThreadPoolExecutor, interrupts: Interrupts, tick: Callable[[], None]) -> None:
        """Start nodes and note how they end, until all have, or those that run have saved or are late."""
        while self.sorter.is_active():
            self._note_ended()
            if interrupts.count:
                if not self._stop_all():
                    return
            else:
                self._take_ready()
                if (cluster := self.cluster.look()) is not self.queue.room.cluster:
                    self.queue.update(cluster)
                self._start_what_fits(executor)
                self._fail_what_fits_nowhere()
            self._enforce_time_limits()
            self._write_changes()
            tick()
            wait([future for _, future in self.running.values()], TICK_S, FIRST_COMPLETED)

    def _note_ended(self) -> None:
        """Note how nodes have ended whose threads are done; an error that a thread raised is a failure like any."""
        done = [(name, *running) for name, running in self.running.items() if running[1].done()]
        for name, execution, future in done:
            error = future.exception()
            ending = execution.failure(error) if error else future.result()
            del self.running[name]
            self.queue.remove(name)
            self._end(name, ending)
        if done:
            self._end_workers_of_no_use()

    def _end_workers_of_no_use(self) -> None:
        """Let workers end that wait for a job where no node is left for them; the last ones end with the command."""
        waiting = [name for name, node in self.nodes.items() if node["status"] == "WAITING"]
        if waiting or self.running:
            end_idle(keep={self.planned[name].job.shape for name in waiting})

    def _take_ready(self) -> None:
        """Make ready each unit whose needs have ended; a node fails with its data, and is blocked by other nodes."""
        while names := self.sorter.get_ready():
            for name in names:
                needs = self.demand.needs[name]
                if fault := next((self.data[other]["error"] for other in needs if other in self.data), ""):
                    self._end(name, Ending("FAILED", fault))
                elif all(self._status(other) == "FINISHED" for other in needs):
                    self.queue.add(name)
                else:
                    self._end(name, Ending("BLOCKED", "a node that it needs did not finish"))

    def _start_what_fits(self, executor: ThreadPoolExecutor) -> None:
        """Start what is ready; see `BackfillQueue`. A node that has finished already takes no room."""
        for name in self.queue.start(time.monotonic()):
            self._set(name, status="RUNNING", started=time.time())
            execution = self.missing.get(name) or NodeExecution(self.planned[name], self.folder)
            self.running[name] = execution, executor.submit(execution.run)

    def _fail_what_fits_nowhere(self) -> None:
        """Where nothing runs and nothing fits, nodes of the cluster have left: nothing waits for them for ever."""
        if self.running or not self.queue.waiting:
            self.had_room_at = time.monotonic()
        elif time.monotonic() - self.had_room_at > ROOM_WAIT_S:
            for name in list(self.queue.waiting):
                try:
                    capacity.require(f"node {name}", self.demand.bundles[name], self.cluster.usable)
                except ClusterError as error:
                    self.queue.remove(name)
                    self._end(name, Ending("FAILED", f"waited {ROOM_WAIT_S:g} s for nodes that left: {error}"))

    def _enforce_time_limits(self) -> None:
        """Let nodes that are over their time end; one that does not even abort counts as ended all the same.

        Its thread is left alone. So is what the thread waits for, such as workers that the cluster has no room for.
        """
        for name, (execution, _) in list(self.running.items()):
            execution.enforce_time_limit()
            if execution.is_lost():
                abandoned.set()
                del self.running[name]
                self.queue.remove(name)
                self._end(name, execution.give_up())

    def _stop_all(self) -> bool:
        """Ask every running node to save and end; False once all have, or their time for it is over."""
        for execution, _ in self.running.values():
            execution.ask_to_stop()
        if any(not execution.is_late() for execution, _ in self.running.values()):
            return True
        for execution, _ in self.running.values():
            execution.ask_to_abort()  # processes on other machines do not end with this one
            execution.give_up()
        return False

    def _verdict(self, *, interrupted: bool) -> Status:
        """The pipeline's status, after units that have not ended got theirs: KILLED with what was at work for them."""
        for name in (*self.nodes, *self.data):
            if self._status(name) not in ENDED:
                at_work = [name, *(other for other in self.demand.needs[name] if other in self.data)]
                self._set(name, status="WAITING" if self.running.keys().isdisjoint(at_work) else "KILLED")
        if {node["status"] for node in self.nodes.values()} == {"FINISHED"}:
            return "FINISHED"
        return "KILLED" if interrupted else "FAILED"

    def _end(self, name: str, ending: Ending) -> None:
        self._set(name, **asdict(ending), ended=time.time())
        self.sorter.done(name)

    def _status(self, name: str) -> str:
        return str(self._table(name)[name]["status"])

    def _set(self, name: str, **fields: Any) -> None:
        table = self._table(name)
        table[name] = {**table[name], **fields}
        self.has_unwritten = True

    def _table(self, name: str) -> dict[str, dict[str, Any]]:
        """The part of the record that has the unit."""
        return self.data if name in self.data else self.nodes

    def _write_changes(self) -> None:
        """Write what has changed of the nodes, now or in a later pass."""
        start = time.monotonic()
        if self.has_unwritten and start >= self.write_at:
            write_record(self.folder, nodes=self.nodes, preparations=self.data)
            self.has_unwritten = False
            now = time.monotonic()
            self.write_at = now + (now - start) / WRITE_SHARE


def describe(planned: PlannedNode) -> dict[str, Any]:
    """A node that has not started, as the pipeline's record has it."""
    node = planned.node
    return {
        "folder": str(planned.folder),
        "unit": "trial" if isinstance(planned, PlannedSweep) else "epoch",
        "lab": node.lab,
        "preset": node.preset,
        "size": node.size,
        "seed": node.seed,
        "status": "WAITING",
        "reused": planned.finished(),
        "error": "",
        "seconds": 0.0,
        "needs": list(node.needs.values()),
        "data": str(planned.job.data),
        "cpus": capacity.in_all(planned.bundles).cpus,
    }
