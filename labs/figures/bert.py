"""Report of the bert lab: what each rule of finding an answer is worth, and how the training went."""

import csv
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from labs.figures.curves import draw

NAMES = {"separate": "each end for itself", "joint": "best pair that is an answer"}


class Row(NamedTuple):
    """A rule's worth at an overlap."""

    search: str
    doc_stride: int
    exact_match: float
    f1: float


def write_rules(out: Path, rows: list[Row]) -> None:
    """Write `rules.csv` and `rules.png` to the folder `out`."""
    with (out / "rules.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Row._fields, *((*row[:2], f"{row[2]:.4f}", f"{row[3]:.4f}") for row in rows)])
    plot_rules(rows).savefig(out / "rules.png", dpi=100, bbox_inches="tight")


def plot_rules(rows: list[Row]) -> Figure:
    """Exact match against the distance of windows, a line a rule."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for search, name in NAMES.items():
        points = [row for row in rows if row.search == search]
        axes.plot([row.doc_stride for row in points], [row.exact_match for row in points], "o-", label=name)
    axes.set(xlabel="tokens from window to window", ylabel="exact match on validation questions")
    axes.legend()
    return figure


def plot_curves(folder: Path) -> Figure:
    """Loss, exact match and F1 against epochs."""
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    labels = {"train/loss": "training loss", "val/exact_match": "exact match", "val/f1": "F1 in characters"}
    draw(axes, folder, labels)
    axes.set(xlabel="epoch")
    return figure
