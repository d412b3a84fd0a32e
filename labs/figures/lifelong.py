"""The curve of the life-long lab."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from labs.figures import curves


def accuracy_curve(folder: Path, angles: Sequence[float]) -> Figure:
    """Held-out accuracy against epochs: the mean over the tasks seen so far, and each task's own.

    Args:
        folder: a run's folder, whose events have `val/accuracy` and `val/accuracy_task<n>`.
        angles: degrees of each task, in the order of learning.
    """
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="accuracy on held-out training images", ylim=(0, 1))
    tasks = {f"val/accuracy_task{task}": f"task {task}, {angle:g}°" for task, angle in enumerate(angles, 1)}
    curves.draw(axes, folder, {"val/accuracy": "mean of the tasks seen", **tasks}, thin=frozenset(tasks))
    return figure
