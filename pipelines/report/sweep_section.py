"""A sweep's part of the report: its figures, its best trials, and those that failed."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labs
from labs.core.heading import Heading
from pipelines.report.pictures import Album, Picture
from pipelines.report.scope import Recorded
from pipelines.tuning.trial import SweepTrial

TRIALS = 10
"""The best trials, and the failed ones, that are listed at most."""


@dataclass(frozen=True)
class Trial:
    """A trial of the list."""

    number: int
    state: str
    value: float | None
    seconds: float
    settings: dict[str, Any]
    error: str


@dataclass(frozen=True)
class SweepSection:
    """A sweep with its trials."""

    folder: Path
    record: dict[str, Any]
    heading: Heading
    counts: Counter[str]
    best: list[Trial]
    failed: list[Trial]

    @property
    def figures(self) -> list[Path]:
        return sorted((self.folder / "figures").glob("*.png"))

    def pictures(self, album: Album) -> list[Picture]:
        """Its figures; there are none before its end."""
        return [album.picture(file) for file in self.figures if file in album]


def sweep_section(sweep: Recorded) -> SweepSection:
    """Read a sweep's trials."""
    folder, record = sweep
    lab = labs.get(record["lab"])
    trials = [SweepTrial(path.parent, lab) for path in sorted(folder.glob("trials/*/record.json"))]
    states = {trial.number: trial.outcome() for trial in trials}
    read = {trial.number: _trial(trial, states[trial.number]) for trial in trials}
    sign = 1 if lab.metric.goal == "min" else -1
    valued = sorted((t for t in read.values() if t.value is not None), key=lambda t: sign * (t.value or 0.0))
    failed = [trial for number, trial in sorted(read.items()) if states[number] in ("FAILED", "DIVERGED")]
    counts = Counter(state.lower() for state in states.values())
    return SweepSection(folder, record, lab.heading, counts, valued[:TRIALS], failed[:TRIALS])


def _trial(trial: SweepTrial, state: str) -> Trial:
    record = trial.record()
    value = trial.value() if state == "FINISHED" else None
    return Trial(trial.number, state.lower(), value, record["seconds"], record["overrides"], record["error"])
