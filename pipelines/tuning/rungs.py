"""Rungs: the fractions of a trial at which trials are compared, so that bad ones end early.

Successive halving (Li et al., ASHA, arXiv:1810.05934). Nothing here needs Ray: rungs are read from a trial's events.
"""

from collections.abc import Callable
from pathlib import Path

from labs.core import events

GRACE_PERCENT, REDUCTION, MAX_PERCENT = 11, 3, 90
"""Trials are compared at 11 % and at 33 % of their epochs, and two of three end there. The rungs are fractions, not
numbers of epochs: labs, and trials where `epochs` is searched, train for very different numbers of epochs. 90 is
below 99, so that ASHA makes no third rung."""
RUNGS = (GRACE_PERCENT, GRACE_PERCENT * REDUCTION)
DIVERGED = 1e30
"""What a scheduler gets for a value that is missing or not finite: it can't compare NaN, nor average infinity."""

Report = Callable[[dict[str, float]], None]


class RungReporter:
    """Reports a trial's value as it reaches a rung, and only then: every report waits for the sweep's driver.

    Args:
        folder: the trial's folder.
        metric: name of the lab's metric.
        goal: `min` or `max`.
        report: takes `percent`, the rung, and `value`.
    """

    def __init__(self, folder: Path, metric: str, goal: str, report: Report) -> None:
        self.folder, self.metric, self.goal, self.report = folder, metric, goal, report
        self.left = list(RUNGS)

    def on_epoch(self, step: int, metrics: dict[str, float]) -> None:
        """Called after each epoch; the number of epochs in all is read from the events."""
        if self.left:
            self.report_reached()

    def report_reached(self) -> None:
        """Report each rung that the events have reached and that was not reported yet."""
        for percent, value in reached_rungs(self.folder, self.metric):
            if percent in self.left:
                self.left.remove(percent)
                self.report({"percent": percent, "value": finite(value, self.goal)})


def reached_rungs(folder: Path, metric: str) -> list[tuple[int, float | None]]:
    """The rungs that a run has reached, with its value at each: that of the first epoch not below the rung."""
    found: list[tuple[int, float | None]] = []
    epochs = [event for event in events.read(folder) if "of" in event]
    for rung in RUNGS:
        first = next((event for event in epochs if 100 * event["step"] >= rung * event["of"]), None)
        if first:
            found.append((rung, first["metrics"].get(f"val/{metric}")))
    return found


def newest_value(folder: Path, metric: str) -> float | None:
    """The validation metric of a run's last epoch."""
    values = [event["metrics"].get(f"val/{metric}") for event in events.read(folder) if "of" in event]
    return values[-1] if values else None


def finite(value: float | None, goal: str) -> float:
    """The value, or the worst possible one where it is missing, NaN or infinite."""
    worst = DIVERGED if goal == "min" else -DIVERGED
    return worst if value is None or not abs(value) < DIVERGED else value
