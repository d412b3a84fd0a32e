"""A pipeline's course in time: when each node and each data set was worked on, and how many CPUs that held."""

from dataclasses import dataclass
from typing import Any

from pipelines.show.display import clock
from pipelines.show.schedule import Schedule, schedule

SHOWN = 100
"""Nodes that are shown at most: those with an error, and the longest ones."""
TICKS = 4
"""Parts that the axis of time is divided into."""


@dataclass(frozen=True)
class Bar:
    """A node, or a data set that nodes waited for."""

    name: str
    lab: str
    state: str
    error: str
    is_data: bool
    cpus: float
    start: float | None
    """Seconds after the pipeline's start; None where nothing was done in its last run."""
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """What the page shows of a pipeline's last run."""

    record: dict[str, Any]
    seconds: float
    """From its start to its end, or until now."""
    bars: list[Bar]
    """In the order of their starts."""
    more: int
    """Nodes that are not among the bars."""
    held: float
    """CPU seconds that nodes and data held."""
    outline: str
    """Corners of the area under the number of CPUs in use, in per cent of the time and of all CPUs; empty where the
    record does not say when nodes were worked on."""

    @property
    def used(self) -> float:
        """Share of the CPUs' time that was held."""
        return self.held / (self.seconds * float(self.record["cpus"]))

    @property
    def idle_s(self) -> float:
        """CPU seconds in which nothing ran."""
        return max(0.0, self.seconds * float(self.record["cpus"]) - self.held)

    @property
    def ticks(self) -> list[str]:
        """Labels of the axis."""
        return [clock(self.seconds * part / TICKS) for part in range(TICKS + 1)]

    @property
    def schedule(self) -> Schedule | None:
        """What no schedule could have done better."""
        return schedule(self.record)


def timeline(record: dict[str, Any], now: float) -> Timeline:
    """What a pipeline's record says.

    Args:
        record: its record.
        now: Unix time at which nodes that still run are shown to end.
    """
    start: float = record.get("started", record["created"])
    end: float = now if record["status"] == "RUNNING" else record.get("ended", start)
    whole = max(end - start, 1e-3)
    data = [_bar(f"data of {part['lab']}", part, True, start, end) for part in record.get("preparations", {}).values()]
    bars = [*data, *(_bar(name, node, False, start, end) for name, node in record["nodes"].items())]
    shown = sorted(bars, key=lambda bar: (not bar.error, -bar.seconds))[:SHOWN]
    return Timeline(
        record=record,
        seconds=whole,
        bars=sorted(shown, key=lambda bar: whole if bar.start is None else bar.start),
        more=len(bars) - len(shown),
        held=sum(bar.seconds * bar.cpus for bar in bars),
        outline=_outline(bars, whole, record["cpus"]) if any(bar.start is not None for bar in bars) else "",
    )


def _bar(name: str, part: dict[str, Any], is_data: bool, start: float, end: float) -> Bar:
    state = "reused" if part.get("reused") else part["status"].lower()
    known = name, part["lab"], state, part["error"], is_data, part.get("cpus", 1.0)
    if "started" not in part or state == "reused":
        return Bar(*known, None, 0.0)
    return Bar(*known, part["started"] - start, max(0.0, part.get("ended", end) - part["started"]))


def _outline(bars: list[Bar], whole: float, cpus: float) -> str:
    changes = [(at, change) for bar in bars if bar.start is not None
               for at, change in ((bar.start, bar.cpus), (bar.start + bar.seconds, -bar.cpus))]  # fmt: skip
    corners, used, height = [(0.0, 100.0)], 0.0, 100.0
    for at, change in sorted(changes):
        used += change
        corners.append((100 * at / whole, height))
        height = 100 - 100 * min(1.0, used / cpus)
        corners.append((100 * at / whole, height))
    return " ".join(f"{x:.2f},{y:.1f}" for x, y in [*corners, (100.0, height), (100.0, 100.0)])
