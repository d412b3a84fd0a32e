"""The figures of homework 15's report questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from labs.core import events

MODES = {"accuracy": "queries normalised together (transductive)", "accuracy_inductive": "by the support set alone"}
"""Metric, without `val/` -> its name in the legend."""
STEPS = (0, 1, 2, 3, 5, 10)
"""Numbers of inner steps at inference that the figure compares."""


def over_tasks(folder: Path, tasks_per_epoch: int, pool: int) -> Figure:
    """Validation accuracy against the number of training tasks: one trained model an epoch.

    Args:
        folder: a run's folder, whose events have the metrics.
        tasks_per_epoch: training tasks of an epoch.
        pool: number of different training tasks; 0 for no limit.
    """
    history = [(event["step"] * tasks_per_epoch, event["metrics"]) for event in events.read(folder)]
    seen = [(tasks, metrics) for tasks, metrics in history if "val/accuracy" in metrics]
    label = f"training tasks seen (of {pool} different ones)" if pool else "training tasks, each seen once"
    lines = {name: [metrics[f"val/{name}"] for _, metrics in seen] for name in MODES}
    return _figure([tasks for tasks, _ in seen], lines, label)


def over_steps(lines: Mapping[str, Sequence[float]]) -> Figure:
    """Validation accuracy by mode after each of `STEPS`; the number of steps in training is the config's."""
    return _figure(STEPS, lines, "inner steps on a task's support set")


def _figure(numbers: Sequence[int], lines: Mapping[str, Sequence[float]], label: str) -> Figure:
    figure = Figure(figsize=(7, 4.5))
    axes = figure.add_subplot(xlabel=label, ylabel="accuracy on held-out characters", ylim=(0, 1))
    for name, values in lines.items():
        axes.plot(numbers, values, marker="o", label=MODES[name])
    axes.axhline(0.2, color="grey", linestyle=":", label="chance")
    axes.legend(loc="lower right")
    return figure
