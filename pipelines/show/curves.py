"""Validation curves of compared runs: a panel for each lab and data set, a line for each row of `labs compare`."""

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import mean
from typing import TYPE_CHECKING, Any

from pipelines.show.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 10
"""Most rows of a panel, the best ones: matplotlib has no more colours that can be told apart."""
WIDE = 100.0
"""Ratio of the largest to the smallest value from which on an axis is logarithmic."""
Curve = dict[int, list[float]]
"""Epoch -> the metric's value in each run that has one there."""


def draw(runs: list[Run], rows: list[dict[str, Any]]) -> "Figure":
    """Panels in a grid, each with the mean over a row's seeds against the epoch, in a band from smallest to largest.

    Where no row of a panel has a second epoch, it shows each seed's score instead.

    Args:
        runs: the runs that the rows are made of.
        rows: of `pipelines.show.compare.compare`, those with a score; at least one.
    """
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        panels[row["lab"], row["data"]].append(row)
    labs = [lab for lab, _ in panels]
    by_id = {run.run_id: run for run in runs}
    across = math.ceil(math.sqrt(len(panels)))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(8, 4.5) if len(panels) == 1 else (4.5 * across, 3.5 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).flat
    for (lab, data), axes in zip(panels, grid, strict=False):
        title = lab if labs.count(lab) == 1 else f"{lab}, data {data[:8]}"
        _panel(axes, title, panels[lab, data], by_id)
    for axes in list(grid)[len(panels) :]:
        axes.remove()
    return figure


def by_epoch(curves: Iterable[Iterable[tuple[int, float]]]) -> Curve:
    """Several runs' curves, each as pairs of epoch and value, together."""
    found: Curve = defaultdict(list)
    for curve in curves:
        for epoch, value in curve:
            found[epoch].append(value)
    return dict(sorted(found.items()))


def _panel(axes: "Axes", title: str, rows: list[dict[str, Any]], by_id: dict[str, Run]) -> None:
    shown, metric = rows[:LINES], "val/" + rows[0]["metric"].partition("/")[2]
    axes.set_title(title if len(shown) == len(rows) else f"{title}: the best {len(shown)} of {len(rows)}")
    curves = [by_epoch(by_id[run_id].curve(metric) for run_id in row["run_ids"]) for row in shown]
    if all(len(curve) < 2 for curve in curves):
        return _scores(axes, shown)
    for row, curve in zip(shown, curves, strict=True):
        _line(axes, row["name"], curve)
    finite = [value for curve in curves for at in curve.values() for value in at if math.isfinite(value)]
    if min(finite, default=0) > 0 and max(finite) / min(finite) > WIDE:
        axes.set_yscale("log")
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="epoch", ylabel=metric)
    axes.legend(fontsize="x-small")


def _line(axes: "Axes", label: str, curve: Curve) -> None:
    epochs, means = list(curve), [mean(at) for at in curve.values()]
    (line,) = axes.plot(epochs, means, "o-" if len(curve) == 1 else "-", label=label)
    axes.fill_between(epochs, [min(at) for at in curve.values()], [max(at) for at in curve.values()],
                      color=line.get_color(), alpha=0.2)  # fmt: skip


def _scores(axes: "Axes", rows: list[dict[str, Any]]) -> None:
    """A dot for each seed's score, and a line across at their mean; the best row on top."""
    for place, row in enumerate(rows):
        axes.plot(row["values"], [place] * len(row["values"]), "o", color=f"C{place}", alpha=0.6)
        axes.plot(row["mean"], place, "|", color=f"C{place}", markersize=16)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize="small")
    axes.invert_yaxis()
    axes.margins(y=0.2)
    axes.set_xlabel(rows[0]["metric"])
