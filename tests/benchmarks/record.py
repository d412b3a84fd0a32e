"""Figures with their references: printed as a table, and appended to `results.jsonl` for comparison over time."""

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from cluster import capacity

RESULTS = Path(__file__).with_name("results.jsonl")
LIBRARIES = ("ray", "torch", "mlflow")


@dataclass(frozen=True)
class Figure:
    """One measured quantity of this program and the same quantity of a reference."""

    name: str
    unit: str
    values: list[float]
    """This program's, one or more from each repeat."""
    references: list[float]
    """The reference's, from the same repeats."""
    beside: str
    """What the reference is, for the table."""

    @property
    def ratio(self) -> float:
        """This program's median over the reference's."""
        return median(self.values) / median(self.references)


def record(figures: Iterable[Figure], results: Path = RESULTS) -> None:
    """Print the figures as a table and append one JSON line for each to `results`."""
    figures = list(figures)
    Console(width=120).print(table(figures))
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
    with results.open("a") as file:
        for figure in figures:
            file.write(json.dumps({**line(figure), **about}) + "\n")


def line(figure: Figure) -> dict[str, Any]:
    """The part of a figure's JSON line that was measured: medians and their ratio."""
    return {
        "name": figure.name,
        "value": round(median(figure.values), 4),
        "unit": figure.unit,
        "reference": round(median(figure.references), 4),
        "ratio": round(figure.ratio, 4),
    }


def table(figures: Iterable[Figure]) -> Table:
    """The figures with medians, and the smallest and largest value that each median stands for."""
    made = Table(box=box.SIMPLE_HEAD, title="median (smallest-largest)", title_justify="left")
    made.add_column("figure", no_wrap=True)
    for column in ("ours", "reference", "ratio"):
        made.add_column(column, justify="right", no_wrap=True)
    made.add_column("the reference is")
    for figure in figures:
        values, references = spread(figure.values), spread(figure.references)
        made.add_row(figure.name, values, references, f"{_digits(figure.ratio)}", figure.beside)
    return made


def spread(values: list[float]) -> str:
    """Median, smallest and largest value."""
    middle, low, high = (_digits(value) for value in (median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


def machine() -> dict[str, Any]:
    """Cores that this process may use, the processor's model, and the GPU's, if any; nothing that names the machine."""
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"cores": int(capacity.local().cpus), "cpu": _cpu_model(), **gpu}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _digits(value: float) -> str:
    """Three significant digits, without an exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
