"""Report of the bert lab: what each rule of finding an answer is worth, and how the training went."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from labs.bert.answers import character_f1, exact_match
from labs.core.curves import draw
from labs.shared.text.answering import answers
from labs.shared.text.drcd import Asked
from labs.shared.text.windows import Reader, Search

TABLE = 300
"""Validation questions behind the table of rules, at most."""
NAMES: dict[Search, str] = {"separate": "each end for itself", "joint": "best pair that is an answer"}


class Row(NamedTuple):
    """A rule's worth at an overlap."""

    search: str
    doc_stride: int
    exact_match: float
    f1: float


def write_rules(out: Path, reader: Reader, dev: Asked) -> None:
    """Write `rules.csv` and `rules.png` to the folder `out`: what each rule finds, by how far windows overlap."""
    rows = compare(reader, dev)
    with (out / "rules.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Row._fields, *((*row[:2], f"{row[2]:.4f}", f"{row[3]:.4f}") for row in rows)])
    plot_rules(rows).savefig(out / "rules.png", dpi=100, bbox_inches="tight")


def compare(reader: Reader, dev: Asked) -> list[Row]:
    """Exact match and F1 of each rule and overlap, on some validation questions."""
    rows, width, right = [], reader.rules.paragraph_tokens, dev.answers()[:TABLE]
    for stride in (width, max(1, width // 2), max(1, width // 4)):
        for search in NAMES:
            reader.rules = replace(reader.rules, doc_stride=stride, search=search)
            said = answers(reader, dev.questions[:TABLE], dev.paragraphs)
            rows.append(Row(search, stride, exact_match(said, right), character_f1(said, right)))
    return rows


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
