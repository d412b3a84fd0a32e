"""Figures of a sweep: best value so far against time, parallel coordinates, importance of the fields, Pareto front."""

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.home import read_record
from pipelines.tuning.sweep import Sweep

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes


def draw(sweep: Sweep, study: "optuna.Study") -> None:
    """Write the figures below `figures/` of the sweep's folder."""
    import matplotlib

    matplotlib.use("Agg")
    folder = sweep.folder / "figures"
    folder.mkdir(exist_ok=True)
    _draw_best_so_far(sweep, folder / "best-so-far.png")
    with matplotlib.rc_context():  # Optuna sets a style, which figures of later runs in this process would have
        _draw_study(sweep, study, folder)


def _draw_study(sweep: Sweep, study: "optuna.Study", folder: Path) -> None:
    """Optuna's own plots; those of one goal show the first one."""
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    names = [f"val/{goal.name}" for goal in sweep.lab.goals]
    of_first: dict[str, Any] = {}
    if sweep.lab.second:
        of_first = {"target": lambda trial: trial.values[0], "target_name": names[0]}
    made: dict[str, Any] = {
        "parallel-coordinates": partial(plots.plot_parallel_coordinate, **of_first),
        "importance": partial(plots.plot_param_importances, **of_first),
    }
    if sweep.lab.second:
        made["pareto-front"] = partial(plots.plot_pareto_front, target_names=names)
    for name, plot in made.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that they are experimental, and that the layout is tight
            try:
                axes = plot(study)
            except (ValueError, RuntimeError):  # too few trials, or all of one value: nothing to show
                continue
            axes.figure.set_size_inches(12, 5)
            axes.figure.savefig(folder / f"{name}.png", dpi=100, bbox_inches="tight")
            pyplot.close("all")


def _draw_best_so_far(sweep: Sweep, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    _plot_best_so_far(sweep, figure.subplots())
    figure.savefig(file, dpi=100, bbox_inches="tight")


def _plot_best_so_far(sweep: Sweep, axes: "Axes") -> None:
    """The value of each trial at its end, and the best value up to then."""
    metric, start = sweep.lab.metric, read_record(sweep.folder)["created"]
    finished = [trial for trial in sweep.trials() if trial.state() == "FINISHED"]
    values = [(trial.record()["ended"] - start, value) for trial in finished if (value := trial.value()) is not None]
    best: list[tuple[float, float]] = []
    for seconds, value in sorted(values):
        improved = not best or metric.better(value, best[-1][1])
        best.append((seconds, value if improved else best[-1][1]))
    axes.step([at for at, _ in best], [value for _, value in best], where="post", label="best so far")
    axes.scatter([at for at, _ in values], [value for _, value in values], s=12, label="trials")
    if min(value for _, value in values) > 0 and max(value for _, value in values) > 100 * best[-1][1]:
        axes.set_yscale("log")  # else trials that diverged would hide all others
    axes.set(xlabel="seconds since the sweep was begun", ylabel=f"val/{metric.name}", title=sweep.folder.name)
    axes.legend()
