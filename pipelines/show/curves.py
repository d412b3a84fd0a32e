"""Validation curves of compared runs: a panel for each lab, a line for each row of `labs compare`."""

from collections import defaultdict
from statistics import mean
from typing import TYPE_CHECKING, Any

from pipelines.show.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(runs: list[Run], rows: list[dict[str, Any]]) -> "Figure":
    """Mean over a row's seeds against the epoch, in a band from the smallest to the largest value.

    Args:
        runs: the runs that the rows are made of.
        rows: of `pipelines.show.compare.compare`; at least one.
    """
    from matplotlib.figure import Figure

    labs = list(dict.fromkeys(row["lab"] for row in rows))
    by_id = {run.run_id: run for run in runs}
    figure = Figure(figsize=(8, 4.5 * len(labs)), layout="constrained")
    for lab, axes in zip(labs, figure.subplots(len(labs), squeeze=False)[:, 0], strict=True):
        own = [row for row in rows if row["lab"] == lab]
        metric = "val/" + own[0]["metric"].partition("/")[2]
        for row in own:
            _line(axes, _label(row, own), points([by_id[run_id] for run_id in row["run_ids"]], metric))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(title=lab, xlabel="epoch", ylabel=metric)
        axes.legend(fontsize="small")
    return figure


def points(runs: list[Run], metric: str) -> dict[int, list[float]]:
    """Epoch -> the metric's value in each of the runs that has one there."""
    found: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        for epoch, value in run.curve(metric):
            found[epoch].append(value)
    return dict(sorted(found.items()))


def _line(axes: "Axes", label: str, values: dict[int, list[float]]) -> None:
    epochs = list(values)
    (line,) = axes.plot(epochs, [mean(at) for at in values.values()], "o-", markersize=3, label=label)
    axes.fill_between(epochs, [min(at) for at in values.values()], [max(at) for at in values.values()],
                      color=line.get_color(), alpha=0.2)  # fmt: skip


def _label(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Preset and size, and of several rows with the same ones the settings or seeds by which they differ."""
    like = [other for other in rows if (other["preset"], other["size"]) == (row["preset"], row["size"])]
    apart = [name for name, value in row["config"].items() if any(o["config"].get(name) != value for o in like)]
    more = [f"{name} {row['config'][name]}" for name in apart]
    if len(like) > 1 and not more:
        more = [f"seed {seed}" for seed in row["seeds"]]
    return " ".join([row["preset"], row["size"], *more])
