"""The life-long lab's curve, and its matrix of tasks as a table and a picture."""

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
        names: what each task is called, in the order of learning.
    """
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="accuracy on held-out training images", ylim=(0, 1))
    tasks = {f"val/accuracy_task{task}": f"task {task}, {name}" for task, name in enumerate(names, 1)}
    curves.draw(axes, folder, {"val/accuracy": "mean of the tasks seen", **tasks}, thin=frozenset(tasks))
    return figure


def write_matrix(file: Path, matrix: Matrix, names: Sequence[str]) -> None:
    """Write accuracies as `after,<task>,...`: a row for the untrained network, then one after each task."""
    text = io.StringIO()
    rows = zip(("untrained", *names), matrix, strict=False)  # of tasks still to come there are no rows
    csv.writer(text).writerows([["after", *names], *([name, *(f"{value:.6f}" for value in row)] for name, row in rows)])
    events.write_text(file, text.getvalue())


def matrix_picture(file: Path) -> Figure:
    """A matrix that `write_matrix` wrote, as a picture with its numbers: what was learnt goes down, tasks go right."""
    with file.open(newline="") as handle:
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
