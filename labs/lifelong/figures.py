"""The life-long lab's accuracy curve, and its matrix of accuracies as a table and a figure."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from labs.core import curves, events
from labs.lifelong.transfer import Matrix

MATRIX = "task_matrix.csv"


def accuracy_curve(folder: Path, names: Sequence[str]) -> Figure:
    """Held-out accuracy against epochs: the mean over the tasks seen so far, and each task's own.

    Args:
        folder: a run's folder, whose events have `val/accuracy` and `val/accuracy_task<n>`.
        names: the tasks' names, in the order of learning.
    """
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="accuracy on held-out training images", ylim=(0, 1))
    tasks = {f"val/accuracy_task{task}": f"task {task}, {name}" for task, name in enumerate(names, 1)}
    curves.draw(axes, folder, {"val/accuracy": "mean of the tasks seen", **tasks}, thin=frozenset(tasks))
    return figure


def write_matrix(file: Path, matrix: Matrix, names: Sequence[str]) -> None:
    """Write accuracies as `after,<task>,...`: a row for the untrained network, then one after each task."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["after", *names])
    for name, row in zip(("untrained", *names), matrix, strict=False):  # later tasks have no row yet
        writer.writerow([name, *(f"{value:.6f}" for value in row)])
    events.write_text(file, text.getvalue())


def matrix_figure(file: Path) -> Figure:
    """The matrix that `write_matrix` wrote: a row after each task learnt, a column for each task evaluated."""
    with file.open(newline="", encoding="utf-8-sig") as handle:
        (_, *names), *rows = csv.reader(handle)
    values = [[float(value) for value in row[1:]] for row in rows]
    figure = Figure(figsize=(1.2 * len(names) + 1, 0.7 * len(rows) + 1))
    axes = figure.add_subplot(xlabel="accuracy on", ylabel="after")
    axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    for row, accuracies in enumerate(values):
        for task, value in enumerate(accuracies):
            axes.text(task, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.5 else "white")
    return figure
