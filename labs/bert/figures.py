"""Figures of the bert labs: the rules of the span search at several strides, and learning curves."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from labs.bert.data import Split
from labs.bert.metrics import character_f1, exact_match
from labs.core.curves import draw
from labs.shared.text.answering import predict_answers
from labs.shared.text.reader import Reader, Search

QUESTIONS = 300
"""Maximum number of validation questions behind the table of rules."""
NAMES: dict[Search, str] = {"separate": "best start and best end separately", "joint": "best valid span"}


class Row(NamedTuple):
    """Scores of a search rule at a stride, on validation questions."""

    search: str
    doc_stride: int
    exact_match: float
    f1: float


def write_rules(out: Path, reader: Reader, dev: Split) -> None:
    """Write `rules.csv` and `rules.png` to the folder `out`: the scores of each search rule, for several strides."""
    rows = compare(reader, dev)
    with (out / "rules.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Row._fields, *((*row[:2], f"{row[2]:.4f}", f"{row[3]:.4f}") for row in rows)])
    plot_rules(rows).savefig(out / "rules.png", dpi=100, bbox_inches="tight")


def compare(reader: Reader, dev: Split) -> list[Row]:
    """Exact match and F1 of each search rule at each of three strides, on the first `QUESTIONS` questions of `dev`."""
    rows, window = [], reader.settings.paragraph_tokens
    questions, answers = dev.questions[:QUESTIONS], dev.answers()[:QUESTIONS]
    for stride in (window, max(1, window // 2), max(1, window // 4)):
        for search in NAMES:
            reader.settings = replace(reader.settings, doc_stride=stride, search=search)
            predictions = predict_answers(reader, questions, dev.paragraphs)
            rows.append(Row(search, stride, exact_match(predictions, answers), character_f1(predictions, answers)))
    return rows


def plot_rules(rows: list[Row]) -> Figure:
    """Exact match against the stride, one line for each search rule."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for search, name in NAMES.items():
        points = [row for row in rows if row.search == search]
        axes.plot([row.doc_stride for row in points], [row.exact_match for row in points], "o-", label=name)
    axes.set(xlabel="stride between windows, in tokens", ylabel="exact match on validation questions")
    axes.legend()
    return figure


def plot_curves(folder: Path, labels: dict[str, str]) -> Figure:
    """Metrics of a run's folder against epochs; `labels` has a label for the name of each metric."""
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    draw(axes, folder, labels)
    axes.set(xlabel="epoch")
    return figure
