"""Learning curves, drawn from a run's own events."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes

from labs.core import events


def draw(axes: Axes, folder: Path, labels: Mapping[str, str], *, thin: frozenset[str] = frozenset()) -> None:
    """Draw metrics against epochs, with a legend that has their last and largest values.

    Args:
        folder: a run's folder, whose events have the metrics.
        labels: metric -> what the legend calls it.
        thin: metrics drawn with a thin line.
    """
    history = [(event["step"], event["metrics"]) for event in events.read(folder)]
    for name, label in labels.items():
        steps, values = zip(*[(step, metrics[name]) for step, metrics in history if name in metrics], strict=True)
        text = f"{label}: {values[-1]:.3f} at the end, {max(values):.3f} at best"
        axes.plot(steps, values, label=text, linewidth=1 if name in thin else 3)
    axes.legend()
