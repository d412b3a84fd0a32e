"""Parallel coordinates: one vertical axis a field, one line a trial (Inselberg, 1985)."""

import json
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES_A_LETTER, GAP = 0.085, 0.45
"""Width of the figure's letters, and what stays free beside the longest of an axis."""
MISSING = -0.12
"""Height of the trials that don't have a field, below its axis, which goes from 0 to 1."""


@dataclass(frozen=True)
class Axis:
    """A field, with its value in each trial."""

    name: str
    values: Sequence[Any]
    """None in a trial that does not have the field."""
    scale: str
    """The type of its entry in the space: `choice`, `loguniform` or another range."""

    def plain(self) -> list[Any]:
        """The values, of a choice as texts."""
        if self.scale != "choice":
            return [None if value is None else float(value) for value in self.values]
        return [None if value is None else value if isinstance(value, str) else json.dumps(value)
                for value in self.values]  # fmt: skip

    def heights(self) -> list[float]:
        """Where each trial's line crosses the axis."""
        place = dict(self.ticks()).__getitem__ if self.scale == "choice" else self._height
        return [MISSING if value is None else place(value) for value in self.plain()]

    def ticks(self) -> list[tuple[str, float]]:
        """Label and height: of a choice each value, numbers in their order, else four of the range."""
        present = [value for value in self.plain() if value is not None]
        if self.scale == "choice":
            numbers = all(type(value) in (int, float) for value in self.values if value is not None)
            labels = sorted(set(present), key=float if numbers else str)
            return [(label, i / max(1, len(labels) - 1)) for i, label in enumerate(labels)]
        low, high = self._range()
        steps = [low + (high - low) * i / 3 for i in range(4)]
        return [(f"{math.exp(x) if self.scale == 'loguniform' else x:.3g}", i / 3) for i, x in enumerate(steps)]

    def _range(self) -> tuple[float, float]:
        found = [self._linear(value) for value in self.plain() if value is not None]
        return min(found), max(found)

    def _linear(self, value: float) -> float:
        return math.log(value) if self.scale == "loguniform" else value

    def _height(self, value: float) -> float:
        low, high = self._range()
        return (self._linear(value) - low) / (high - low) if high > low else 0.5


def parallel_coordinates(
    axes: Sequence[Axis], worst_first: Sequence[int], best: int | None, dashed: Container[int], title: str
) -> "Figure":
    """The figure; the lines' colours go by rank.

    Args:
        axes: the fields, and last what the trials are compared by.
        worst_first: the trials by rank.
        best: the trial whose line is thick.
        dashed: the trials that were ended early.
        title: of the figure.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    widths = [GAP + INCHES_A_LETTER * max(len(t) for t in (a.name, *(label for label, _ in a.ticks()))) for a in axes]
    places = [sum(widths[: i + 1]) for i in range(len(widths))]
    figure = Figure(figsize=(places[-1] + GAP, 5.5))
    plot = figure.add_axes((0, 0, 1, 0.88))
    heights, colours = [axis.heights() for axis in axes], colormaps["viridis_r"]
    for rank, i in enumerate(worst_first):
        colour = "C3" if i == best else colours(0.15 + 0.85 * rank / len(worst_first))
        (line,) = plot.plot(places, [h[i] for h in heights], "--" if i in dashed else "-", color=colour)
        line.set(linewidth=2.5 if i == best else 0.9, zorder=3 if i == best else 2)
    for axis, place in zip(axes, places, strict=True):
        _draw_axis(plot, axis, place, any(value is None for value in axis.values))
    plot.set(xlim=(0, places[-1] + GAP), ylim=(MISSING - 0.05, 1.12))
    plot.set_axis_off()
    title += "\nred: the best one; dashed: pruned; the darker, the better"
    figure.text(GAP / figure.get_figwidth(), 0.98, title, fontsize=10, va="top")
    return figure


def _draw_axis(plot: "Axes", axis: Axis, place: float, misses: bool) -> None:
    """The axis, its name above, and its labels left of it."""
    plot.plot([place, place], [0, 1], color="black", linewidth=1)
    plot.text(place, 1.06, axis.name, ha="right", fontsize=9, fontweight="bold")
    for label, height in [*axis.ticks(), *([("not set", MISSING)] if misses else [])]:
        plot.plot([place - 0.04, place], [height, height], color="black", linewidth=1)
        plot.text(place - 0.07, height, label, ha="right", va="center", fontsize=8,
                  bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5})  # fmt: skip
