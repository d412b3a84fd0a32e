"""A lab's part of the report: its settings with their results, its curves, and what its best run has delivered."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

import labs
from labs.core.errors import BadInput
from labs.core.heading import SIZES, Heading
from pipelines.error_file import has_error
from pipelines.node import flatten
from pipelines.report import charts, prose
from pipelines.report.pictures import Album, Picture
from pipelines.report.scope import Recorded
from pipelines.show.compare import Row, compare
from pipelines.show.compare_tables import short_seeds
from pipelines.show.runs import Run

SHOWN_ROWS = 40
"""Settings of a lab that its table has at most, the best ones."""
SHOWN_UNSCORED = 20
"""Runs without a score that are listed at most, the newest ones."""
REPORT = Path("deliver", "report.md")
"""Where a run's folder has a lab's written answers, if it has any."""


@dataclass(frozen=True)
class Change:
    """A setting that is not the preset's."""

    name: str
    value: Any
    preset: Any


@dataclass(frozen=True)
class Setting:
    """Runs with a score that differ in their seed alone."""

    row: Row
    """Of `pipelines.show.compare.compare`."""
    runs: list[Run]
    folder: Path
    """Of the run with the best score."""
    record: dict[str, Any]
    line: charts.Line | None
    """How it is drawn in the charts; None for one too many."""

    @property
    def seeds(self) -> str:
        """The seeds as a person reads them."""
        return short_seeds(self.row["seeds"])

    @property
    def pictures(self) -> list[Path]:
        """The pictures of the best run that its written answers do not show."""
        shown = set(prose.pictures_in(self.folder / REPORT))
        found = [file for part in ("deliver", "figures") for file in sorted((self.folder / part).rglob("*.png"))]
        return [file for file in found if file not in shown]


@dataclass(frozen=True)
class Unscored:
    """A run without a score: it failed, diverged, was interrupted, or still runs."""

    row: Row
    folder: Path
    record: dict[str, Any]
    has_traceback: bool
    values: list[float]
    """Its validation metric by epoch, as long as it was a number."""


@dataclass(frozen=True)
class LabSection:
    """A lab with its runs."""

    heading: Heading
    settings: list[Setting]
    """Larger sizes first; among those with the same data, the best first."""
    more_settings: int
    unscored: list[Unscored]
    """The newest first."""
    more_unscored: int
    counts: Counter[str]
    """Status of runs -> their number."""

    @property
    def best(self) -> Setting | None:
        """The best setting of the largest size."""
        return self.settings[0] if self.settings else None

    @property
    def ladder(self) -> list[Setting]:
        """The best setting of each preset that can be compared with the best of all, from the first preset on."""
        first = self.settings[0].row
        alike = [s for s in self.settings if all(s.row[key] == first[key] for key in ("size", "data", "metric"))]
        best = {setting.row["preset"]: setting for setting in reversed(alike)}
        return [best[preset] for preset in self.heading.presets if preset in best]

    @property
    def curve(self) -> list[float]:
        """Validation metric of the best setting by epoch, mean over its seeds."""
        curves = [list(run.curve(self.metric)) for run in self.settings[0].runs]
        return charts.thinned([value for _, value in charts.mean_curve(curves)])

    @property
    def metric(self) -> str:
        """Metric of the curves."""
        return f"val/{self.heading.metric.name}"


def lab_section(heading: Heading, runs: Sequence[Run], recorded: Sequence[Recorded]) -> LabSection:
    """Group a lab's runs.

    Args:
        heading: the lab.
        runs: its runs, oldest first.
        recorded: their folders and records, in the same order.
    """
    of_run = dict(zip((run.run_id for run in runs), recorded, strict=True))
    by_id = {run.run_id: run for run in runs}
    rows = compare(list(runs))
    scored = sorted((row for row in rows if row["status"] == "FINISHED"), key=lambda row: -SIZES.index(row["size"]))
    others = [row for row in reversed(rows) if row["status"] != "FINISHED"]
    return LabSection(
        heading=heading,
        settings=[_setting(row, by_id, of_run, number) for number, row in enumerate(scored[:SHOWN_ROWS])],
        more_settings=max(0, len(scored) - SHOWN_ROWS),
        unscored=[_unscored(row, by_id, of_run) for row in others[:SHOWN_UNSCORED]],
        more_unscored=max(0, len(others) - SHOWN_UNSCORED),
        counts=Counter(run.outcome.lower() for run in runs),
    )


def changes(record: dict[str, Any]) -> list[Change] | None:
    """The settings of a run that are not its preset's; None where this version of the program has no such preset."""
    preset = _preset(*(record[key] for key in ("lab", "preset", "size")))
    if preset is None:
        return None
    config = flatten(record["config"])
    names = [name for name in {**preset, **config} if preset.get(name) != config.get(name)]
    return [Change(name, config.get(name), preset.get(name)) for name in names]


def pictures(setting: Setting) -> list[Path]:
    """All pictures that the page shows of a setting's best run."""
    return [*prose.pictures_in(setting.folder / REPORT), *setting.pictures]


def delivered(setting: Setting, album: Album) -> tuple[Markup | None, list[Picture]]:
    """The written answers of the setting's best run, if it has any, and the pictures that do not stand in them."""
    report = setting.folder / REPORT
    text = prose.rendered(report, album) if report.exists() else None
    return text, [album.picture(file) for file in setting.pictures if file in album]


def learning_curves(section: LabSection) -> list[tuple[str, Markup]]:
    """Title and drawing of the validation metric and of the training loss, where they were logged."""
    drawn = [setting for setting in section.settings if setting.line]
    found = []
    for metric in (section.metric, "train/loss"):
        curves = [[list(run.curve(metric)) for run in setting.runs] for setting in drawn]
        if any(curve for group in curves for curve in group):
            alt = f"{metric} of {section.heading.name} by epoch, a line for each of {len(drawn)} settings"
            prefix = f"{section.heading.name}-{metric.replace('/', '-')}"
            found.append((metric, Markup(charts.learning_curves(curves, alt, prefix))))
    return found


def _setting(row: Row, by_id: dict[str, Run], of_run: dict[str, Recorded], number: int) -> Setting:
    runs = [by_id[name] for name in row["run_ids"]]
    best = (min if row["goal"] == "min" else max)(runs, key=lambda run: run.score)
    return Setting(row, runs, *of_run[best.run_id], charts.line(number))


def _unscored(row: Row, by_id: dict[str, Run], of_run: dict[str, Recorded]) -> Unscored:
    run, (folder, record) = by_id[row["run_ids"][0]], of_run[row["run_ids"][0]]
    values = [value for _, value in run.curve(f"val/{run.tags['labs.metric']}") if math.isfinite(value)]
    return Unscored(row, folder, record, has_error(folder), charts.thinned(values))


@cache
def _preset(lab: str, preset: str, size: str) -> dict[str, Any] | None:
    try:
        return flatten(labs.get(lab).resolve(preset, size).model_dump(mode="json"))
    except BadInput:
        return None
