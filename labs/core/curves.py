"""Learning curves, drawn from a run's own events."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labs.core import events
from labs.core.plots import legend_beside, logarithmic, styled, whole_numbers


def draw(axes: Axes, folder: Path, labels: Mapping[str, str], *, thin: frozenset[str] = frozenset()) -> None:
    """Draw metrics against epochs, with a legend beside them that has their last values.

    Args:
        folder: a run's folder, whose events have the metrics.
        labels: metric -> what the legend calls it.
        thin: metrics drawn with a thin line.
    """
    for name, label in labels.items():
        steps, values = history(folder, name)
        if not steps:  # such as the return where no episode has ended
            continue
        text, width = f"{label}: {values[-1]:.3f} at the end", 1.2 if name in thin else 2.5
        # A single epoch is a point, not a line.
        axes.plot(steps, values, label=text, linewidth=width, marker="o" if len(steps) == 1 else "")
    axes.set_xlabel("epoch")
    whole_numbers(axes)
    legend_beside(axes)


def history(folder: Path, metric: str) -> tuple[list[int], list[float]]:
    """Epochs in which a metric was logged, counted from 1, and its values."""
    logged = [(event["step"], event["metrics"][metric]) for event in events.read(folder) if metric in event["metrics"]]
    return [step for step, _ in logged], [value for _, value in logged]


@styled
def figure(folder: Path, title: str, panels: Sequence[tuple[str, Mapping[str, str]]], *, log: bool = False) -> Figure:
    """Learning curves of a run, a panel below the other.

    Args:
        folder: the run's folder.
        title: of the figure.
        panels: what the y axis shows, with its unit, and the metrics that are drawn, as for `draw`.
        log: whether the y axes are logarithmic.
    """
    whole = Figure(figsize=(8, 0.6 + 2.9 * len(panels)))
    for axes, (label, metrics) in zip(whole.subplots(len(panels), squeeze=False).flat, panels, strict=True):
        draw(axes, folder, metrics)
        axes.set_ylabel(label)
        if log:
            logarithmic(axes)
    whole.suptitle(title)
    return whole
