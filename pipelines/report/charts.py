"""Charts as SVG inside the page: in its colours, so that they are readable on white and on black."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from statistics import mean
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.show.curves import by_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
"""Text and axes while a chart is drawn; in the page they have the colour of its text."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#a07800")
"""While a chart is drawn; the page has its own, lighter ones on black. The colour-blind can tell them apart."""
DASHES = ("", "5 2")
DRAWN = len(COLOURS) * len(DASHES)
"""Groups of runs that a chart can show: each has a colour and a line of its own."""
POINTS = 200
"""Points of a line at most: a chart has not more pixels for them."""
SINGLE_LINES = 12
"""Seeds of a group up to which each has a line of its own; of more, the band alone can be seen."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "labs", "font.size": 9, "text.color": INK, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.color": INK, "grid.alpha": 0.12,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.6, "path.simplify": True,
}  # fmt: skip
T = TypeVar("T")
Curve = list[tuple[int, float]]
"""Epoch and value."""


@dataclass(frozen=True)
class Line:
    """How a group of runs is drawn, in charts and in the legend beside them."""

    colour: int
    """Number of the page's colour, from 1."""
    dashes: str
    """As SVG's `stroke-dasharray` has them."""


def line(number: int) -> Line | None:
    """How group `number` is drawn; None for one too many."""
    return Line(number % len(COLOURS) + 1, DASHES[number // len(COLOURS)]) if number < DRAWN else None


def learning_curves(groups: Sequence[Sequence[Curve]], alt: str, prefix: str) -> str:
    """Mean over each group's curves with a thin line for each of few, and a band from the smallest to the largest.

    A curve that ends in a value that is not a number has a cross at its last finite one.

    Args:
        groups: curves of the runs that differ in their seed alone, at most `DRAWN` groups.
        alt: what the chart shows, for who can't see it.
        prefix: begins the identifiers inside the drawing, and is no other drawing's.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.6))
        axes = figure.subplots()
        figure.subplots_adjust(left=0.11, right=0.99, bottom=0.16, top=0.98)  # a layout engine takes twice the time
        for number, curves in enumerate(groups):
            _draw_group(axes, [thinned(curve) for curve in curves if curve], number)
        _scale(axes, [value for curves in groups for curve in curves for _, value in curve if math.isfinite(value)])
        axes.set_xlabel("epoch")
        return svg(figure, alt, prefix)


def svg(figure: "Figure", alt: str, prefix: str) -> str:
    """The figure as an element of the page; the same figure gives the same text."""
    written = StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", text)
    text = text.replace(INK, "currentColor")
    for number, colour in enumerate(COLOURS, 1):
        text = text.replace(colour, f"var(--series-{number})")
    return re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>',
                  rf'<svg viewBox="\1" role="img" aria-label="{escape(alt)}">', text, count=1)  # fmt: skip


def thinned(points: list[T]) -> list[T]:
    """Every so many points of a long curve, the last one included."""
    return points[:: -max(1, math.ceil(len(points) / POINTS))][::-1]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean of the finite values at each epoch."""
    return [(epoch, mean(values)) for epoch, values in by_epoch(map(_finite, curves)).items()]


def _finite(curve: Curve) -> Curve:
    return [(epoch, value) for epoch, value in curve if math.isfinite(value)]


def _draw_group(axes: "Axes", curves: list[Curve], number: int) -> None:
    colour, dashes = COLOURS[number % len(COLOURS)], number // len(COLOURS)
    at = by_epoch(map(_finite, curves))
    epochs = list(at)
    if len(curves) > 1:
        axes.fill_between(epochs, [min(values) for values in at.values()], [max(values) for values in at.values()],
                          color=colour, alpha=0.15, linewidth=0)  # fmt: skip
        for curve in curves if len(curves) <= SINGLE_LINES else ():
            axes.plot(*zip(*curve, strict=True), color=colour, linewidth=0.6, alpha=0.6)
    marker = "o" if len(epochs) <= 3 else ""
    axes.plot(epochs, [mean(values) for values in at.values()], color=colour, linestyle=("-", (0, (5, 2)))[dashes],
              marker=marker, markersize=3.5)  # fmt: skip
    for curve in curves:
        finite = _finite(curve)
        if finite and not math.isfinite(curve[-1][1]):
            axes.plot(*finite[-1], "x", color=colour, markersize=7, markeredgewidth=1.8)


def _scale(axes: "Axes", values: list[float]) -> None:
    """Whole epochs; a logarithmic scale where a run that diverged, or the first epochs, would hide all others."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    if values and min(values) > 0 and max(values) > 50 * min(values):
        axes.set_yscale("log")
        axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:.6g}")
