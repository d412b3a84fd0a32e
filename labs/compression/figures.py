"""The figure of homework 13's report: accuracy and latency of the pruned teacher."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from labs.core.plots import legend_beside, styled

Row = tuple[str, float, int, float, float, float]
"""Kind of pruning, ratio, and the pruned network's parameters, megabytes, milliseconds per image and accuracy."""


@styled
def plot(rows: Sequence[Row]) -> Figure:
    """Accuracy and latency against the fraction that is pruned."""
    figure = Figure(figsize=(12, 4.5))
    panels = figure.subplots(1, 2)
    labels = {5: "validation accuracy", 4: "latency on a CPU, ms per image"}
    for axes, (column, label) in zip(panels, labels.items(), strict=True):
        for kind, style in zip(dict.fromkeys(row[0] for row in rows), ("o-", "s--"), strict=True):
            points = [(row[1], row[column]) for row in rows if row[0] == kind]
            axes.plot(*zip(*points, strict=True), style, label=kind)
        axes.set(xlabel="fraction of the teacher that is pruned", ylabel=label, ylim=(0, None))
    legend_beside(panels[-1], "what is pruned")
    figure.suptitle("The pruned teacher; weights that are masked are still stored and multiplied")
    return figure
