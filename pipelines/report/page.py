"""The report as one HTML file: everything is inside it, and the page forbids itself to fetch anything."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import labs
from labs.core import events
from labs.core.errors import BadInput
from pipelines.report import charts, lab_section, sweep_section
from pipelines.report.lab_section import LabSection, Setting
from pipelines.report.pictures import Album
from pipelines.report.scope import Scope
from pipelines.report.timeline import timeline
from pipelines.show.display import cell, clock, number
from pipelines.show.runs import of_folder
from pipelines.tracking.writer import Store

SHOWN_VERSIONS = ("torch", "ray", "mlflow", "optuna")


@dataclass(frozen=True)
class InstalledPackages:
    """What was installed where runs were made."""

    number: int
    versions: str
    text: str
    """`environment.txt`."""


def place(home: Path, scope: Scope) -> Path:
    """The report's file, where none is asked for."""
    return home / "reports" / f"{scope.file_name}.html"


def write(home: Path, scope: Scope, out: Path) -> int:
    """Write the report of what was chosen; returns its bytes.

    Raises:
        BadInput: the file can't be written.
    """
    text = render(home, scope)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        events.write_text(out, text)
    except OSError as error:
        raise BadInput(f"{out} can't be written: {error.strerror}") from None
    return len(text.encode())


def render(home: Path, scope: Scope) -> str:
    """The page. The same folders give the same text, unless something still runs."""
    store, sections = Store(home, None), []
    for name, heading in labs.COURSE.items():
        if recorded := [pair for pair in scope.runs if pair[1]["lab"] == name]:
            runs = [of_folder(folder, record, store) for folder, record in recorded]
            sections.append(lab_section.lab_section(heading, runs, recorded))
    sweeps = [sweep_section.sweep_section(pair) for pair in scope.sweeps]
    files = [file for section in sections if section.best for file in lab_section.pictures(section.best)]
    page: str = _template().render(
        scope=scope,
        newest=_newest(scope),
        sections=sections,
        sweeps=sweeps,
        album=Album([*files, *(file for sweep in sweeps for file in sweep.figures)]),
        timeline=timeline(scope.pipeline[1], time.time()) if scope.pipeline else None,
        environments=_environments([section.best for section in sections if section.best]),
        learning_curves=lab_section.learning_curves,
        delivered=lab_section.delivered,
        changes=lab_section.changes,
        shown_labs={section.heading.name for section in sections},
        drawn=charts.DRAWN,
    )
    return page


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("pipelines.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, clock=clock, cell=cell, date=_date, sparkline=_sparkline, place=_place)
    return environment.get_template("page.html")


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _newest(scope: Scope) -> float | None:
    """When what the page shows has last changed; None where there is nothing."""
    pairs = [*scope.runs, *scope.sweeps, *([scope.pipeline] if scope.pipeline else [])]
    return max((record.get("ended", record["created"]) for _, record in pairs), default=None)


def _sparkline(values: Sequence[float]) -> str:
    """Corners of a line through the values, in a field of 100 x 24."""
    low, high = min(values), max(values)
    step, height = 100 / max(1, len(values) - 1), (high - low) or 1.0
    return " ".join(f"{2 + 0.96 * step * at:.1f},{22 - 20 * (value - low) / height:.1f}"
                    for at, value in enumerate(values))  # fmt: skip


def _place(value: float, section: LabSection) -> float:
    """Where a value stands between the worst and the best of the ladder and the trivial predictor, in per cent."""
    first = section.settings[0].row
    values = [setting.row["mean"] for setting in section.ladder]
    values += [] if first["trivial"] is None else [first["trivial"]]
    worst, best = (max(values), min(values)) if first["goal"] == "min" else (min(values), max(values))
    return 100.0 if worst == best else 100 * (value - worst) / (best - worst)


def _environments(settings: list[Setting]) -> dict[Path, InstalledPackages]:
    """Run's folder -> what was installed; runs that had the same share it."""
    by_text: dict[str, InstalledPackages] = {}
    found = {}
    for setting in settings:
        file = setting.folder / "environment.txt"
        if file.exists():
            text = file.read_text(errors="replace")
            found[setting.folder] = by_text.setdefault(text, InstalledPackages(len(by_text) + 1, _versions(text), text))
    return found


def _versions(text: str) -> str:
    python = re.search(r"^# (Python \S+)", text)
    found = [f"{name} {match[1]}" for name in SHOWN_VERSIONS if (match := re.search(rf"^{name}==(\S+)", text, re.M))]
    return ", ".join([python[1] if python else "Python", *found])
