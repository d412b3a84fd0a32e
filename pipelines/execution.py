"""One node of a running pipeline: its way from the lock of its folder to the record of how it ended."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

import labs
from pipelines.error_file import first_line, has_error, read_error, write_error
from pipelines.home import Status, driver_lock, has_record, read_record, write_record
from pipelines.interrupts import GRACE_S
from pipelines.job import Job, Outcome
from pipelines.node import PlannedNode, create_record, with_best_config
from pipelines.ray_rllib import run_on_rllib
from pipelines.ray_train import run_on_workers
from pipelines.requests import ask_to_abort, ask_to_stop, clear
from pipelines.scaling.torchrun import run_on_torchrun
from pipelines.tracking import snapshot
from pipelines.tuning.conduct import conduct
from pipelines.tuning.sweep import PlannedSweep, Sweep
from pipelines.worker import run_bare

ABORT_S = 30.0
"""Seconds that a node's processes have to end when they are asked to abort."""
START_LIMIT_S = 600.0
"""Seconds that workers may take to begin, as where other users' jobs hold the cluster, before a time limit counts."""


@dataclass(frozen=True)
class Ending:
    """How a node ended."""

    status: Status
    error: str = ""
    seconds: float = 0.0
    """Of all commands that worked on it."""
    reused: bool = False
    """Whether it had finished before."""


class Execution:
    """A unit of a pipeline's work: a thread executes `run`, and the scheduler's thread calls the other methods.

    This one has no time limit, nothing to save when it is asked to stop, and no processes that outlive the command.
    """

    def run(self) -> Ending:
        """Do the work."""
        raise NotImplementedError

    def failure(self, error: BaseException) -> Ending:
        """How it ends where `run` raised an error."""
        raise NotImplementedError

    def ask_to_stop(self) -> None:
        """Ask it, once, to save and end."""

    def enforce_time_limit(self) -> None:
        """Ask it to save and end when its time is over, and to abort when its time to save is over too."""

    def ask_to_abort(self) -> None:
        """Ask its processes to end at once, saved or not."""

    def is_late(self) -> bool:
        """Whether it was asked to end and its time to save is over, or has nothing to save."""
        return True

    def is_lost(self) -> bool:
        """Whether its time is over and its processes have not ended although they were asked to abort."""
        return False

    def give_up(self) -> Ending:
        """Record how it ends that does not end by itself; a later command continues it."""
        return Ending("KILLED")


class NodeExecution(Execution):
    """One node's execution.

    Args:
        planned: the node.
        pipeline: the pipeline's folder.
    """

    def __init__(self, planned: PlannedNode, pipeline: Path) -> None:
        self.planned, self.pipeline = planned, pipeline
        self.locked_at: float | None = None
        """When it got the lock: another process may have worked on the run before."""
        self.config_of_before: int | None = None
        """Which `config.json` the folder had then, of an earlier command."""
        self.started: float | None = None
        """When a worker gave its first sign of life, from which the time limit counts."""
        self.asked_at: float | None = None
        self.over_time = False

    def ask_to_stop(self) -> None:
        """Ask the node, once, to save and end."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            ask_to_stop(self.planned.folder)

    def enforce_time_limit(self) -> None:
        """Ask the node to save and end when its time is over, and to abort when its time to save is over too."""
        limit = self.planned.node.time_limit
        if limit and self.asked_at is None and self._counted() > limit:
            self.over_time = True
            self.ask_to_stop()
        if self.is_late():
            self.ask_to_abort()

    def begin(self) -> None:
        """Note that the lock is held, and what an earlier command has left: no worker has begun for this one."""
        self.config_of_before, self.locked_at = self._config(), time.monotonic()

    def _counted(self) -> float:
        """Seconds that count against the time limit."""
        now = time.monotonic()
        if self.started is None and self.locked_at is not None:
            if isinstance(self.planned, PlannedSweep) or self._config() != self.config_of_before:
                self.started = now
            return now - self.locked_at - START_LIMIT_S
        return 0.0 if self.started is None else now - self.started

    def _config(self) -> int | None:
        """When the folder's `config.json` was written, with which each worker begins."""
        with suppress(FileNotFoundError):
            return (self.planned.folder / "config.json").stat().st_mtime_ns
        return None

    def ask_to_abort(self) -> None:
        """Ask the node's processes to end at once, saved or not."""
        for folder in self._folders_of_processes():
            ask_to_abort(folder)

    def is_late(self) -> bool:
        """Whether the node was asked to end and its time to save is over, or has nothing to save yet."""
        return self._waited(GRACE_S) or (self.asked_at is not None and self._waits_for_workers())

    def is_lost(self) -> bool:
        """Whether the node's time is over and its processes have not ended although they were asked to abort.

        A bare run has none: it ends after its epoch.
        """
        return self.over_time and self._waited(GRACE_S + ABORT_S) and not self._is_bare()

    def give_up(self) -> Ending:
        """Record how the node ends that does not end by itself; a later command continues it."""
        ending = self._as_asked("KILLED", "")
        if has_record(self.planned.folder):
            write_record(self.planned.folder, status=ending.status, ended=time.time(), error=ending.error)
        return ending

    def _waited(self, seconds: float) -> bool:
        return self.asked_at is not None and time.monotonic() - self.asked_at > seconds

    def _folders_of_processes(self) -> list[Path]:
        """Where the node's processes listen: a sweep's in its trials' folders.

        A bare run is a thread of the driver, whose other nodes would end with it.
        """
        if isinstance(self.planned, PlannedSweep):
            return [trial.folder for trial in self.planned.sweep.trials() if trial.state() == "RUNNING"]
        return [] if self._is_bare() else [self.planned.folder]

    def _waits_for_workers(self) -> bool:
        """Whether no worker has begun with the run, also in an earlier command."""
        return not (
            isinstance(self.planned, PlannedSweep) or self._is_bare() or (self.planned.folder / "config.json").exists()
        )

    def _is_bare(self) -> bool:
        return self.planned.job.workers == 0 and not isinstance(self.planned, PlannedSweep)

    def failure(self, error: BaseException) -> Ending:
        """How a node ends whose thread raised an error."""
        return self._as_asked("FAILED", first_line(error))

    def run(self) -> Ending:
        """Take the run's lock, or follow the process that holds it, and bring the run to its end.

        Raises:
            BaseException: whatever went wrong on the driver's side; it was recorded in the run's folder.
        """
        lock = driver_lock(self.planned.folder)
        if not self._acquire(lock):
            return Ending("KILLED")
        self.begin()
        try:
            if self.planned.finished():
                return Ending("FINISHED", reused=True)
            clear(self.planned.folder)
            if self.asked_at is not None:  # `clear` may have removed that request
                return Ending("KILLED")
            if isinstance(self.planned, PlannedSweep):
                return self._search(self.planned.sweep)
            return self._train(with_best_config(self.planned))
        except BaseException as error:
            self._record_failure(error)
            raise
        finally:
            lock.release()

    def _acquire(self, lock: FileLock) -> bool:
        """Wait for the lock; False if the node was asked to end meanwhile."""
        while self.asked_at is None:
            with suppress(Timeout):
                lock.acquire(timeout=1.0)
                return True
        return False

    def _train(self, planned: PlannedNode) -> Ending:
        """A lab's run, on workers or in this process."""
        folder = planned.folder
        create_record(planned, self.pipeline)
        snapshot.write_environment(folder)
        before, start = read_record(folder)["seconds"], time.time()
        write_record(folder, status="RUNNING", started=start, error="")
        outcome: Outcome = "FAILED"
        try:
            outcome = run_job(planned.job)
        except Exception as error:  # Ray reports a lost worker, task or cluster with many classes
            if not has_error(folder):  # what a worker wrote says more
                write_error(folder, error)
        error_text = read_error(folder, "its workers failed and left no error.txt") if outcome == "FAILED" else ""
        ending = replace(self._as_asked(outcome, error_text), seconds=before + time.time() - start)
        write_record(folder, status=ending.status, ended=time.time(), seconds=ending.seconds, error=ending.error)
        return ending

    def _search(self, sweep: Sweep) -> Ending:
        """A sweep: many trials, in processes of their own, and a record that the sweep keeps itself."""
        sweep.create_record(self.pipeline)
        status = conduct(sweep, stopped=lambda: self.asked_at is not None, tick=lambda: None)
        ending = self._as_asked(status, "" if status == "FINISHED" else "no trial has come to its end")
        write_record(sweep.folder, status=ending.status, error=ending.error)
        return replace(ending, seconds=read_record(sweep.folder)["seconds"])

    def _as_asked(self, outcome: Status, error: str) -> Ending:
        """The outcome; for a node that was asked to end and has not finished, what it was asked for."""
        if self.asked_at is None or outcome == "FINISHED":
            return Ending(outcome, error)
        if self.over_time:
            limit = self.planned.node.time_limit
            return Ending("FAILED", f"time limit of {limit:g} s reached; raise it and run again to continue")
        return Ending("KILLED")

    def _record_failure(self, error: BaseException) -> None:
        """Write `error.txt` and, if the run has a record, its end."""
        folder, ending = self.planned.folder, self.failure(error)
        with suppress(OSError):  # a full disk: the pipeline's own record has the text
            write_error(folder, error)
            if has_record(folder):
                write_record(folder, status=ending.status, ended=time.time(), error=ending.error)


def run_job(job: Job) -> Outcome:
    """Run a node's job where it belongs and wait for its end."""
    if job.measured == "torchrun":
        return run_on_torchrun(job)
    if job.workers == 0:
        return run_bare(job)
    if labs.get(job.lab).placement == "rllib":
        return run_on_rllib(job)
    return run_on_workers(job)
