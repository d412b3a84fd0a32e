"""The learning curve of the phoneme lab."""

from pathlib import Path

from matplotlib.figure import Figure

from labs.core import curves


def accuracy_curve(folder: Path, parameters: int) -> Figure:
    """Training and validation accuracy against epochs, with the network's size: one row of the tables that both report
    questions ask for.

    Args:
        folder: a run's folder, whose events have `train/accuracy` and `val/accuracy`.
    """
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="share of frames", title=f"{parameters:,} parameters")
    curves.draw(axes, folder, {"train/accuracy": "training", "val/accuracy": "validation"})
    return figure
