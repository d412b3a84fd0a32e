"""Figures of a sweep, read from its folder: best value so far, each trial against its learning rate, parallel
coordinates, importance of the fields, Pareto front.

Pruned trials are shown in all of them, with the value of the epoch at which they were ended.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import labs
from labs.core.heading import Metric
from pipelines.home import read_record
from pipelines.show.parallel_coordinates import Axis, parallel_coordinates
from pipelines.tuning.trial import ENDED, SweepTrial, trials_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRIALS_A_FIELD = 10
"""Trials for each field from which on importances are shown without a warning: the usual rule for a regression."""
MARKERS = {"FINISHED": ("o", "C0"), "PRUNED": ("x", "C7")}
"""How a trial is drawn, by its state."""


@dataclass(frozen=True)
class Outcome:
    """A trial that has ended, with a finite value of each goal."""

    number: int
    state: str
    values: tuple[float, ...]
    """Of each goal, the lab's metric first."""
    compute: float
    """Seconds that this trial and all that ended before it have trained."""
    fields: dict[str, Any]
    """The searched fields that the trial had; one whose condition did not hold is missing."""


@dataclass(frozen=True)
class Outcomes:
    """What the figures of a sweep show."""

    name: str
    goals: Sequence[Metric]
    scales: dict[str, str]
    """Searched field -> type of its entry in the space."""
    trials: list[Outcome]
    states: Counter[str]
    """Of all trials that have ended, those without a finite value included."""

    def caption(self) -> str:
        """The sweep's name, and how many trials of each kind are drawn."""
        drawn = Counter(trial.state for trial in self.trials)
        left = self.states.total() - drawn.total()
        counts = ", ".join(f"{drawn[state]} {state.lower()}" for state in MARKERS if drawn[state])
        return f"{self.name}\nn = {drawn.total()} trials: {counts}" + (f"; {left} without a value" if left else "")

    def spread(self) -> dict[str, str]:
        """The searched fields, and their types, of which trials have different values."""
        seen = {name: {json.dumps(trial.fields.get(name)) for trial in self.trials} for name in self.scales}
        return {name: scale for name, scale in self.scales.items() if len(seen[name]) > 1}

    def axis(self, field: str) -> Axis:
        """A searched field with its value in each trial."""
        return Axis(field, [trial.fields.get(field) for trial in self.trials], self.scales[field])

    def best_first(self) -> list[int]:
        """Places of the trials in `trials`, by rank of the lab's metric."""
        sign = 1 if self.goals[0].goal == "min" else -1
        return sorted(range(len(self.trials)), key=lambda i: sign * self.trials[i].values[0])


def draw(folder: Path) -> None:
    """Write the figures below `figures/` of the sweep's folder."""
    place = folder / "figures"
    place.mkdir(exist_ok=True)
    for name, figure in figures(folder).items():
        figure.savefig(place / f"{name}.png", dpi=100, bbox_inches="tight")


def figures(folder: Path) -> dict[str, "Figure"]:
    """The figures of a sweep's folder by name; one that has too few trials to show anything is left out."""
    outcomes = read(folder)
    if not outcomes.trials:
        return {}
    spread = outcomes.spread()
    made = {"best-so-far": _figure(lambda axes: _plot_best_so_far(outcomes, axes))}
    for field in (name for name, scale in spread.items() if name.split("_")[0] == "lr" and scale != "choice"):
        name = f"learning-rate{field.removeprefix('lr').replace('_', '-')}"
        made[name] = _figure(lambda axes, field=field: _plot_against(outcomes, field, axes))  # type: ignore[misc]
    if spread:
        made["parallel-coordinates"] = _plot_parallel_coordinates(outcomes)
    if shares := importances(outcomes):
        made["importance"] = _figure(lambda axes: _plot_importances(outcomes, shares, axes))
    if len(outcomes.goals) > 1:
        made["pareto-front"] = _figure(lambda axes: _plot_pareto_front(outcomes, axes))
    return made


def read(folder: Path) -> Outcomes:
    """What the trials of a sweep's folder have come to, in the order of their ends."""
    record = read_record(folder)
    lab, params = labs.get(record["lab"]), record["params"]
    kinds = {name.split(".")[1]: kind for name, kind in params.items() if name.startswith("space.") and
             name.endswith(".type")}  # fmt: skip
    ended = [trial for trial in trials_of(folder, lab) if trial.state() in ENDED]
    found, compute = [], 0.0
    for trial in sorted(ended, key=lambda trial: float(trial.record()["ended"])):
        compute += trial.record()["seconds"]
        if outcome := _outcome(trial, compute, kinds):
            found.append(outcome)
    return Outcomes(folder.name, lab.goals, kinds, found, Counter(trial.state() for trial in ended))


def _outcome(trial: SweepTrial, compute: float, kinds: dict[str, str]) -> Outcome | None:
    values = [value for value in trial.values().values() if value is not None]
    if trial.state() not in MARKERS or len(values) < len(trial.lab.goals):
        return None
    fields = {name: value for name, value in trial.record()["overrides"].items() if name in kinds}
    return Outcome(trial.number, trial.state(), tuple(values), compute, fields)


def importances(outcomes: Outcomes) -> dict[str, float]:
    """Field -> its share of the variance between the trials' ranks (fANOVA, Hutter et al., ICML 2014), largest first.

    Ranks, because a single trial that diverged would have all of the variance of the values. Only fields that every
    trial had can be judged; empty where there are fewer trials than such fields.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spread = {
        name: scale for name, scale in outcomes.spread().items() if all(name in t.fields for t in outcomes.trials)
    }
    if not spread or len(outcomes.trials) <= len(spread):
        return {}
    columns = {name: outcomes.axis(name) for name in spread}
    distributions = {name: _distribution(axis) for name, axis in columns.items()}
    study = optuna.create_study()
    for rank, i in enumerate(outcomes.best_first()):
        params = {name: axis.plain()[i] for name, axis in columns.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=rank))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _distribution(axis: Axis) -> Any:
    """The range of a field's values as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    values = axis.plain()
    if axis.scale == "choice":
        return CategoricalDistribution(list(dict.fromkeys(values)))
    return FloatDistribution(min(values), max(values), log=axis.scale == "loguniform")


def _figure(plot: Callable[["Axes"], None]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    plot(figure.subplots())
    return figure


def _plot_best_so_far(outcomes: Outcomes, axes: "Axes") -> None:
    """The value of each trial at its end, and the best value of finished trials up to then."""
    metric, best = outcomes.goals[0], list[tuple[float, float]]()
    for trial in outcomes.trials:
        if trial.state == "FINISHED":
            improved = not best or metric.better(trial.values[0], best[-1][1])
            best.append((trial.compute, trial.values[0] if improved else best[-1][1]))
    axes.step([at for at, _ in best], [value for _, value in best], where="post", color="C1", label="best so far")
    _scatter(outcomes, [trial.compute for trial in outcomes.trials], axes)
    axes.set(xlabel="seconds of training, all trials together")


def _plot_against(outcomes: Outcomes, field: str, axes: "Axes") -> None:
    """The value of each trial that had the field against it."""
    _scatter(outcomes, [trial.fields.get(field) for trial in outcomes.trials], axes)
    axes.set(xlabel=field, xscale="log" if outcomes.scales[field] == "loguniform" else "linear")


def _plot_parallel_coordinates(outcomes: Outcomes) -> "Figure":
    metric, trials, best_first = outcomes.goals[0], outcomes.trials, outcomes.best_first()
    values = [trial.values[0] for trial in trials]
    value = Axis(f"val/{metric.name}", values, "loguniform" if _is_skewed(values, metric) else "uniform")
    axes = [*(outcomes.axis(name) for name in outcomes.spread()), value]
    pruned = {i for i, trial in enumerate(trials) if trial.state == "PRUNED"}
    best = next((i for i in best_first if i not in pruned), None)
    return parallel_coordinates(axes, best_first[::-1], best, pruned, outcomes.caption())


def _scatter(outcomes: Outcomes, across: Sequence[Any], axes: "Axes") -> None:
    """The trials' values against what is given for each; one without it is left out."""
    pairs = list(zip(outcomes.trials, across, strict=True))
    for state, (marker, colour) in MARKERS.items():
        shown = [(x, trial.values[0]) for trial, x in pairs if trial.state == state and x is not None]
        if shown:
            xs, ys = zip(*shown, strict=True)
            axes.scatter(xs, ys, s=18, marker=marker, color=colour, label=state.lower())
    metric = outcomes.goals[0]
    if _is_skewed([trial.values[0] for trial in outcomes.trials], metric):
        axes.set_yscale("log")  # else trials that diverged would hide all others
    axes.set(ylabel=f"val/{metric.name} ({'lower' if metric.goal == 'min' else 'higher'} is better)")
    axes.set_title(outcomes.caption(), fontsize=10)
    _add_legend(axes)


def _add_legend(axes: "Axes") -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))  # beside the points, of which it covers none


def _is_skewed(values: Sequence[float], metric: Metric) -> bool:
    """Whether the worst value is so far from the best one that only a logarithmic axis shows both."""
    return metric.goal == "min" and min(values) > 0 and max(values) > 100 * min(values)


def _plot_importances(outcomes: Outcomes, shares: dict[str, float], axes: "Axes") -> None:
    n, enough = len(outcomes.trials), TRIALS_A_FIELD * len(shares)
    rows = list(shares.items())[::-1]
    bars = axes.barh([name for name, _ in rows], [share for _, share in rows], color="C0" if n >= enough else "C7")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    title = outcomes.caption()
    if n < enough:
        title += f"\nrough: {len(shares)} fields need some {enough} trials, with fewer the order may be chance"
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="share of the variance of the trials' ranks (fANOVA)", xlim=(0, max(shares.values()) * 1.15))


def _plot_pareto_front(outcomes: Outcomes, axes: "Axes") -> None:
    """The two goals against each other; the trials that no finished trial beats in both are in another colour."""
    second = outcomes.goals[1]
    finished = [trial for trial in outcomes.trials if trial.state == "FINISHED"]
    front = [trial for trial in finished if not any(_beats(other, trial, outcomes.goals) for other in finished)]
    _scatter(outcomes, [trial.values[1] for trial in outcomes.trials], axes)
    axes.scatter([t.values[1] for t in front], [t.values[0] for t in front], s=60, facecolors="none", edgecolors="C3",
                 label="front")  # fmt: skip
    axes.set(xlabel=f"val/{second.name} ({'lower' if second.goal == 'min' else 'higher'} is better)")
    _add_legend(axes)


def _beats(one: Outcome, other: Outcome, goals: Sequence[Metric]) -> bool:
    """Whether a trial is better in one goal and not worse in the others."""
    pairs = list(zip(goals, one.values, other.values, strict=True))
    return any(goal.better(a, b) for goal, a, b in pairs) and not any(goal.better(b, a) for goal, a, b in pairs)
