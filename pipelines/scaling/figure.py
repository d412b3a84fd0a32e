"""The figure of `labs scale`: speed and efficiency against the workers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]


def draw(rows: Rows, file: Path) -> None:
    """Write the figure of the rows of `results.rows`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    speed, efficiency = figure.subplots(1, 2)
    first = rows[0]
    figure.suptitle(f"{first['lab']} {first['preset']} {first['size']} on {first['device']}")
    _plot_speed(speed, rows)
    _plot_efficiency(efficiency, rows)
    for axes in (speed, efficiency):
        axes.set_xscale("log", base=2)
        axes.set_xticks([row["workers"] for row in rows], [str(row["workers"]) for row in rows])
        axes.set_xlabel("workers")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=100)


def _plot_speed(axes: "Axes", rows: Rows) -> None:
    measured = [row for row in rows if row["measured"]]
    first = rows[0]
    ideal = [first["samples_per_s"] / first["workers"] * row["workers"] for row in rows]
    axes.plot([row["workers"] for row in rows], ideal, color="grey", linestyle=":", label="ideal")
    _plot(axes, measured, "samples_per_s", label="labs", marker="o")
    _plot(axes, measured, "torchrun_samples_per_s", label="torchrun script", marker="x")
    _plot(axes, [measured[-1], *rows[len(measured) :]], "samples_per_s", label="predicted", linestyle="--")
    axes.set_yscale("log", base=2)  # on both axes, so that the ideal is a straight line
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(ylabel="samples/s", title="same global batch")


def _plot_efficiency(axes: "Axes", rows: Rows) -> None:
    measured = [row for row in rows if row["measured"]]
    _plot(axes, measured, "efficiency", label="strong: same global batch", marker="o")
    _plot(axes, measured, "weak_efficiency", label="weak: same batch per worker", marker="s")
    _plot(axes, [measured[-1], *rows[len(measured) :]], "efficiency", label="predicted, strong", linestyle="--")
    _plot(axes, rows, "communication", label="all-reduce / step", marker=".", color="grey")
    axes.set(ylim=(0, None), title="efficiency, and share of communication")


def _plot(axes: "Axes", rows: Rows, key: str, **style: Any) -> None:
    """The rows that have the value."""
    points = [(row["workers"], row[key]) for row in rows if row[key] is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **style)
