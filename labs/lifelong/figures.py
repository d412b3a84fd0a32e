"""The life-long lab's accuracy curve, and its matrix of accuracies as a table and a figure."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from labs.core import curves, events
from labs.core.plots import styled
from labs.lifelong.transfer import Matrix

MATRIX = "task_matrix.csv"


@styled
def accuracy_curve(folder: Path, names: Sequence[str], epochs_per_task: int) -> Figure:
    """Held-out accuracy against epochs, the mean over the tasks seen so far and each task's own; dotted lines lie
    between tasks.

    Args:
        folder: a run's folder, whose events have `val/accuracy` and `val/accuracy_task<n>`.
        names: the tasks' names, in the order of learning.
        epochs_per_task: epochs in which a task is learnt.
    """
    figure = Figure(figsize=(10, 5))
    axes = figure.add_subplot(ylabel="accuracy on held-out training images", ylim=(0, 1))
    tasks = {f"val/accuracy_task{task}": f"task {task}, {name}" for task, name in enumerate(names, 1)}
    curves.draw(axes, folder, {"val/accuracy": "mean of the tasks seen", **tasks}, thin=frozenset(tasks))
    for number, name in enumerate(names):
        if number:
            axes.axvline(number * epochs_per_task + 0.5, color="grey", linestyle=":", linewidth=1)
        axes.text((number + 0.5) * epochs_per_task + 0.5, 1.02, name, ha="center", transform=axes.get_xaxis_transform())
    axes.set_xlim(0.5, len(names) * epochs_per_task + 0.5)
    axes.set_xlabel("epoch; the name of the task that is learnt stands above")
    return figure


def write_matrix(file: Path, matrix: Matrix, names: Sequence[str]) -> None:
    """Write accuracies as `after,<task>,...`: a row for the untrained network, then one after each task."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["after", *names])
    for name, row in zip(("untrained", *names), matrix, strict=False):  # later tasks have no row yet
        writer.writerow([name, *(f"{value:.6f}" for value in row)])
    events.write_text(file, text.getvalue())


def read_matrix(file: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what `write_matrix` wrote."""
    with file.open(newline="", encoding="utf-8-sig") as handle:
        header, *rows = csv.reader(handle)
    return header, rows


@styled
def matrix_figure(file: Path) -> Figure:
    """The matrix that `write_matrix` wrote: a row after each task learnt, a column for each task evaluated."""
    (_, *names), rows = read_matrix(file)
    values = [[float(value) for value in row[1:]] for row in rows]
    figure = Figure(figsize=(1.2 * len(names) + 2, 0.6 * len(rows) + 1.2))
    axes = figure.add_subplot(xlabel="accuracy on the held-out images of the task", ylabel="after learning")
    shown = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    figure.colorbar(shown, label="accuracy")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    for row, accuracies in enumerate(values):
        for task, value in enumerate(accuracies):
            axes.text(task, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.5 else "white")
    return figure
