"""Runs a pipeline's nodes side by side, longest remaining path first, into what the cluster has free.

The pipeline's folder records each node's status; whoever shows the pipeline, in this process or another, reads it.
"""

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

import labs
from cluster import capacity
from labs.core import events
from labs.core.run import STOP
from pipelines.home import Status, driver_lock, read_record, write_record
from pipelines.interrupts import GRACE_S, Interrupts
from pipelines.node import Planned, begin, settled
from pipelines.plan import priorities
from pipelines.ray_rllib import run_on_rllib
from pipelines.ray_train import run_on_workers
from pipelines.tracking import snapshot
from pipelines.tuning.conduct import conduct
from pipelines.tuning.sweep import Sweep
from pipelines.worker import ABORT, Outcome, clear, first_line, note_error, run_bare

TICK_S = 0.1
ENDED = ("FINISHED", "FAILED", "KILLED", "BLOCKED")


class Graph:
    """One execution of a pipeline.

    Args:
        folder: the pipeline's folder.
        planned: the nodes, in an order in which each follows what it needs.
        cluster: what the cluster has in all.
    """

    def __init__(self, folder: Path, planned: Mapping[str, Planned], cluster: capacity.Resources) -> None:
        self.folder, self.planned, self.free = folder, dict(planned), cluster
        self.started: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        self.threads: dict[str, threading.Thread] = {}
        self.lock = threading.Lock()
        needs = {name: list(p.node.needs.values()) for name, p in self.planned.items()}
        seconds = {name: (0.0 if p.finished else p.seconds) for name, p in self.planned.items()}
        order = priorities(seconds, needs)
        self.waiting = sorted(self.planned, key=lambda name: -order[name])
        self.nodes = {name: _about(p) for name, p in self.planned.items()}

    def run(self, interrupts: Interrupts, tick: Callable[[], None]) -> Status:
        """Run to the end, or until interrupted and saved; returns the pipeline's status.

        Args:
            interrupts: looked at between ticks.
            tick: called several times a second, for the display.
        """
        start, before = time.time(), read_record(self.folder)["seconds"]
        write_record(self.folder, status="RUNNING", started=start, nodes=self.nodes)
        while self.threads or self.waiting:
            if interrupts.count and not self._stop_all():
                break
            self._start_ready()
            self._enforce_limits()
            tick()
            time.sleep(TICK_S)
        status = self._verdict(interrupted=bool(interrupts.count))
        write_record(
            self.folder,
            status=status,
            ended=time.time(),
            seconds=before + time.time() - start,
            nodes=self.nodes,
            end_tags={f"labs.node.{name}": Path(node["folder"]).name for name, node in self.nodes.items()},
        )
        tick()
        return status

    def _start_ready(self) -> None:
        for name, thread in list(self.threads.items()):
            if not thread.is_alive():
                del self.threads[name]
                self.free = self.free + self.planned[name].needed
        for name in list(self.waiting):
            needed = [self.nodes[other]["status"] for other in self.planned[name].node.needs.values()]
            if any(status in ("FAILED", "KILLED", "BLOCKED") for status in needed):
                self.waiting.remove(name)
                self._set(name, status="BLOCKED", error="a node that it needs did not finish")
            elif all(status == "FINISHED" for status in needed) and self._fits(name):
                self.waiting.remove(name)
                self.free = self.free - self.planned[name].needed
                self.started[name] = time.monotonic()
                self._set(name, status="RUNNING")
                self.threads[name] = threading.Thread(target=self._drive, args=(name,), name=name, daemon=True)
                self.threads[name].start()

    def _fits(self, name: str) -> bool:
        return self.planned[name].finished or self.planned[name].needed.fits(self.free)

    def _drive(self, name: str) -> None:
        """A node's thread: take the run's lock, or follow the process that has it, and bring the run to its end."""
        planned = self.planned[name]
        lock = driver_lock(planned.folder)
        while True:
            with suppress(Timeout):
                lock.acquire(timeout=1.0)
                break
            if name in self.asked:
                return self._set(name, status="KILLED")
        try:
            if planned.finished:
                return self._set(name, status="FINISHED", reused=True)
            if planned.sweep:
                self._search(name, planned.sweep)
            else:
                self._execute(name, settled(planned))
        finally:
            lock.release()

    def _execute(self, name: str, planned: Planned) -> None:
        begin(planned, self.folder)
        snapshot.write_environment(planned.folder)
        before, start = read_record(planned.folder)["seconds"], time.time()
        write_record(planned.folder, status="RUNNING", started=start, error="")
        outcome: str = "FAILED"
        file = planned.folder / "error.txt"
        try:
            clear(planned.folder)
            outcome = place(planned)
        except Exception as raised:  # Ray reports a lost worker, task or cluster with many classes
            if not file.exists():  # what a worker wrote says more
                note_error(planned.folder, raised)
        error = file.read_text().split("\n")[0] if outcome == "FAILED" else ""
        outcome, error = self._as_asked(name, outcome, error)
        seconds = before + time.time() - start
        write_record(planned.folder, status=outcome, ended=time.time(), seconds=seconds, error=error)
        self._set(name, status=outcome, error=error, seconds=seconds)

    def _search(self, name: str, sweep: Sweep) -> None:
        """A tune node: many trials, in processes of their own, and a record that the sweep keeps itself."""
        sweep.begin(self.folder)
        stop = sweep.folder / STOP
        for left_over in (STOP, "error.txt"):
            (sweep.folder / left_over).unlink(missing_ok=True)
        status, error = "FAILED", "no trial has come to its end"
        try:
            status = conduct(sweep, stop.exists, tick=lambda: None)
        except Exception as raised:  # as above
            note_error(sweep.folder, raised)
            error = first_line(raised)
        status, error = self._as_asked(name, status, "" if status == "FINISHED" else error)
        write_record(sweep.folder, status=status, error=error)
        self._set(name, status=status, error=error, seconds=read_record(sweep.folder)["seconds"])

    def _as_asked(self, name: str, outcome: str, error: str) -> tuple[str, str]:
        """The same, or why a node that was asked to end has not finished."""
        if name not in self.asked or outcome == "FINISHED":
            return outcome, error
        if self.nodes[name].get("over_time"):
            limit = self.planned[name].node.time_limit
            return "FAILED", f"time limit of {limit:g} s reached; raise it and run again to continue"
        return "KILLED", ""

    def _enforce_limits(self) -> None:
        for name in self.threads:
            limit = self.planned[name].node.time_limit
            if limit and time.monotonic() - self.started[name] > limit and name not in self.asked:
                self._set(name, over_time=True)
                self._ask(name)
            if name in self.asked and time.monotonic() - self.asked[name] > GRACE_S:
                (self.planned[name].folder / ABORT).touch()

    def _stop_all(self) -> bool:
        """Ask every running node to save and end; False once all have, or their time for it is over."""
        self.waiting.clear()
        for name, thread in self.threads.items():
            if name not in self.asked and thread.is_alive():
                self._ask(name)
        alive = [name for name, thread in self.threads.items() if thread.is_alive()]
        late = [name for name in alive if time.monotonic() - self.asked[name] > GRACE_S]
        for name in late:
            write_record(self.planned[name].folder, status="KILLED", ended=time.time())
        return bool(alive) and len(late) < len(alive)

    def _ask(self, name: str) -> None:
        self.asked[name] = time.monotonic()
        self.planned[name].folder.mkdir(parents=True, exist_ok=True)
        (self.planned[name].folder / STOP).touch()

    def _verdict(self, *, interrupted: bool) -> Status:
        for name, node in self.nodes.items():
            if node["status"] not in ENDED:
                self._set(name, status="KILLED" if name in self.started else "WAITING")
        statuses = {node["status"] for node in self.nodes.values()}
        if statuses == {"FINISHED"}:
            return "FINISHED"
        return "KILLED" if interrupted else "FAILED"

    def _set(self, name: str, **fields: Any) -> None:
        with self.lock:
            self.nodes[name] = {**self.nodes[name], **fields}
            write_record(self.folder, nodes=self.nodes)


def place(planned: Planned) -> Outcome:
    """Run a node's job where it belongs and wait for its end."""
    if planned.job.workers == 0:
        return run_bare(planned.job)
    if labs.get(planned.job.lab).placement == "rllib":
        return run_on_rllib(planned.job)
    return run_on_workers(planned.job)


def open_folder(home: Path, name: str, planned: Mapping[str, Planned], spec: str) -> Path:
    """The pipeline's folder: the same for the same nodes with the same fingerprints and attempts, whenever asked."""
    runs = {node: p.folder.name for node, p in planned.items()}
    digest = hashlib.sha256(f"{name}{sorted(runs.items())}".encode()).hexdigest()[:12]
    folder = home / "pipelines" / f"{name}-{digest}"
    if not (folder / "record.json").exists():
        write_record(
            folder,
            key=uuid.uuid4().hex,
            name=name,
            status="WAITING",
            created=time.time(),
            seconds=0.0,
            nodes={node: _about(p) for node, p in planned.items()},
            params={"pipeline": name, "nodes": len(planned)},
            tags={"labs.pipeline": name, "labs.folder": str(folder)},
        )
        events.write_text(folder / "spec.yaml", spec)
    return folder


def _about(planned: Planned) -> dict[str, Any]:
    node = planned.node
    return {
        "folder": str(planned.folder),
        "unit": "trial" if planned.sweep else "epoch",
        "lab": node.lab,
        "preset": node.preset,
        "size": node.size,
        "seed": node.seed,
        "status": "WAITING",
        "reused": False,
        "error": "",
        "seconds": 0.0,
        "needs": list(node.needs.values()),
    }
