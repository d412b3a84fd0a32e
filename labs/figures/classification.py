"""The learning curve of the phoneme lab."""

from pathlib import Path

from matplotlib.figure import Figure

from labs import events


def accuracy_curve(folder: Path, parameters: int) -> Figure:
    """Training and validation accuracy against epochs, with the last values and the network's size: one row of the
    tables that both report questions ask for.

    Args:
        folder: a run's folder, whose events have `train/accuracy` and `val/accuracy`.
    """
    history = [(event["step"], event["metrics"]) for event in events.read(folder)]
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="share of frames", title=f"{parameters:,} parameters")
    for name, label in {"train/accuracy": "training", "val/accuracy": "validation"}.items():
        points = [(step, metrics[name]) for step, metrics in history if name in metrics]
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, label=f"{label}: {values[-1]:.3f} at the end, {max(values):.3f} at best")
    axes.legend()
    return figure
