"""The figures of homework 15's report questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from labs.core import curves
from labs.core.plots import legend_beside, styled, whole_numbers
from labs.meta.data import WAYS

MODES = {"accuracy": "together (transductive)", "accuracy_inductive": "by the support set alone (inductive)"}
"""Metric, without `val/` -> how batch norm normalises the queries."""
STEPS = (0, 1, 2, 3, 5, 10)
"""Numbers of inner steps at inference that the figure compares."""


def training_tasks(folder: Path, tasks_per_epoch: int) -> tuple[list[int], dict[str, list[float]]]:
    """Numbers of training tasks, one for each validated epoch, and by mode the validation accuracies.

    Args:
        folder: a run's folder, whose events have the metrics.
        tasks_per_epoch: training tasks of an epoch.
    """
    steps, _ = curves.history(folder, "val/accuracy")
    lines = {name: curves.history(folder, f"val/{name}")[1] for name in MODES}
    return [step * tasks_per_epoch for step in steps], lines


@styled
def accuracy_figure(numbers: Sequence[int], lines: Mapping[str, Sequence[float]], title: str, label: str) -> Figure:
    """Validation accuracy by mode against training tasks or inner steps, which `label` names on the x axis."""
    figure = Figure(figsize=(9, 4.5))
    axes = figure.add_subplot(title=title, xlabel=label, ylabel="accuracy on held-out characters", ylim=(0, 1.02))
    for name, values in lines.items():
        axes.plot(numbers, values, marker="o", label=MODES[name])
    axes.axhline(1 / WAYS, color="grey", linestyle=":", label="chance")
    whole_numbers(axes)
    legend_beside(axes, "queries are normalised")
    return figure
