"""The learning curve of the phoneme lab."""

from pathlib import Path

from matplotlib.figure import Figure

from labs.core import curves


def accuracy_curve(folder: Path, parameters: int) -> Figure:
    """Training and validation accuracy by epoch, with the number of parameters: the values that one run adds to the
    table of a report question.

    Args:
        folder: a run's folder, whose events have `train/accuracy` and `val/accuracy`.
    """
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="accuracy over frames", title=f"{parameters:,} parameters")
    curves.draw(axes, folder, {"train/accuracy": "training", "val/accuracy": "validation"})
    return figure
