"""What a trial of a sweep does in its own process, which later trials use again."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.connect import SETTINGS
from labs.core import events
from pipelines.ray_train import run_on_workers
from pipelines.worker import Job, Outcome, work

GRACE_PERCENT, REDUCTION, MAX_PERCENT = 11, 3, 90
"""Trials are compared at 11 and at 33 % of their epochs, and two of three end there. A share, not a number of epochs,
because labs, and trials where epochs are searched, train for very different numbers of them."""
RUNGS = (GRACE_PERCENT, GRACE_PERCENT * REDUCTION)
DIVERGED = 1e30
"""What a scheduler gets for a value that is not there or not finite; it can't compare NaN, nor average infinity."""
POLL_S = 0.2

Report = Callable[[dict[str, float]], None]


class TrialFailed(Exception):
    """The lab's code raised an error; the folder's `error.txt` has its traceback."""


def trial(config: dict[str, Any]) -> None:
    """A function trainable of Ray Tune; `config` has the job, and whether the scheduler wants results on the way."""
    from ray import tune

    job = Job.model_validate(config["job"])
    (job.folder / "error.txt").unlink(missing_ok=True)  # of the attempt before this one
    metric, goal = config["metric"], config["goal"]
    rungs = Rungs(job.folder, metric, goal, tune.report) if config["scheduled"] else None
    outcome = _on_workers(job, rungs) if job.workers > 1 else work(job, on_epoch=rungs.on_epoch if rungs else None)
    if outcome == "FAILED":
        raise TrialFailed((job.folder / "error.txt").read_text().split("\n")[0])
    # Percent 0 says nothing to a scheduler: the trial was asked to end.
    tune.report({"percent": 100 if outcome == "FINISHED" else 0, "value": finite(newest(job.folder, metric), goal)})


class Rungs:
    """Reports a trial's value as it reaches a rung, and only then: every report waits for the sweep's driver."""

    def __init__(self, folder: Path, metric: str, goal: str, report: Report) -> None:
        self.folder, self.metric, self.goal, self.report = folder, metric, goal, report
        self.left = list(RUNGS)

    def on_epoch(self, step: int, metrics: dict[str, float]) -> None:
        """Called after each epoch; the events say how many there are in all."""
        if self.left:
            self.look()

    def look(self) -> None:
        """Report each rung that the events have reached."""
        for percent, value in reached(self.folder, self.metric):
            if percent in self.left:
                self.left.remove(percent)
                self.report({"percent": percent, "value": finite(value, self.goal)})


def reached(folder: Path, metric: str) -> list[tuple[int, float | None]]:
    """The rungs that a run has reached, with its value at each: that of the first epoch not below the rung."""
    found: list[tuple[int, float | None]] = []
    written = [event for event in events.read(folder) if "of" in event]
    for rung in RUNGS:
        there = next((event for event in written if 100 * event["step"] >= rung * event["of"]), None)
        if there:
            found.append((rung, there["metrics"].get(f"val/{metric}")))
    return found


def newest(folder: Path, metric: str) -> float | None:
    """A run's last value."""
    values = [event["metrics"].get(f"val/{metric}") for event in events.read(folder) if "of" in event]
    return values[-1] if values else None


def finite(value: float | None, goal: str) -> float:
    """The value, or a very bad one in place of none, NaN and infinity."""
    worst = DIVERGED if goal == "min" else -DIVERGED
    return worst if value is None or not abs(value) < DIVERGED else value


def _on_workers(job: Job, rungs: Rungs | None) -> Outcome:
    """Train on Ray Train workers, which this process, itself without a CPU, waits for."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    outcome: list[Outcome | Exception] = []

    def drive() -> None:
        try:
            outcome.append(run_on_workers(job))
        except Exception as error:  # Ray reports lost workers with many classes
            outcome.append(error)

    thread = threading.Thread(target=drive, name="fit", daemon=True)
    thread.start()
    while thread.is_alive():
        if rungs:
            rungs.look()
        time.sleep(POLL_S)
    (ended,) = outcome
    if isinstance(ended, Exception):
        if (job.folder / "error.txt").exists():
            return "FAILED"
        raise ended
    return ended
