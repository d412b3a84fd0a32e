"""The figures of a sweep: pruned trials are in all of them, and none shows more than so few trials can tell."""

import math
import time
from collections.abc import Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from pipelines.home import write_record
from pipelines.show.sweep_figures import figures
from tests.pipelines.sweeps import TRIAL_S, Outcome, stand_in_sweep

SPACE = {
    "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
    "dropout": {"type": "uniform", "low": 0.0, "high": 0.5},
    "batch_size": {"type": "choice", "values": [64]},
    "optimizer": {"type": "choice", "values": ["sgd", "adamw"]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 0.95, "when": {"optimizer": "sgd"}},
    "hidden": {"type": "choice", "values": [[16, 8], [32], [64, 32, 16, 8]]},
}


def outcome(number: int, fields: Mapping[str, Any]) -> Outcome:
    """A trial is the better the nearer its learning rate is to 0.001; the first four have ends of their own."""
    value = 1 + abs(math.log10(fields["lr"]) + 3)
    ends: list[Outcome] = [("PRUNED", value), ("FAILED", value), ("FINISHED", math.nan), ("FINISHED", 1e9)]
    return ends[number] if number < len(ends) else ("FINISHED", value)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Figure]:
    """The figures of a sweep of ten trials: eight have a value, one of which was pruned."""
    sweep = stand_in_sweep(tmp_path_factory.mktemp("figures"), "regression", outcome, trials=10, space=SPACE)
    for trial in sweep.trials():  # the last three by another command, a day later
        write_record(trial.folder, ended=time.time() + (86_400 if trial.number > 6 else 0) + trial.number)
    return figures(sweep.folder)


def texts(figure: Figure) -> list[Any]:
    """All texts of a figure that are drawn."""
    return [text for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text().strip()]


def test_every_figure_says_how_many_trials_it_shows_and_how_they_ended(drawn: dict[str, Figure]) -> None:
    assert set(drawn) == {"best-so-far", "learning-rate", "parallel-coordinates", "importance"}
    for figure in drawn.values():
        said = " ".join(text.get_text() for text in texts(figure))
        assert "n = 8 trials: 7 finished, 1 pruned; 2 without a value" in said


def test_the_best_value_stands_against_the_seconds_of_training_without_the_pause(drawn: dict[str, Figure]) -> None:
    (axes,) = drawn["best-so-far"].axes
    points = [tuple(point) for dots in axes.collections for point in dots.get_offsets().data]
    assert sorted(x for x, _ in points) == [TRIAL_S * n for n in (1, 4, 5, 6, 7, 8, 9, 10)]  # failed ones take time too
    best = [y for _, y in axes.lines[0].get_xydata()]
    assert all(later <= earlier for earlier, later in pairwise(best))
    assert best[0] == 1e9  # a pruned trial came before, which was not trained to its end
    assert axes.get_yscale() == "log"


def test_importances_of_few_trials_are_marked_and_fields_without_spread_are_not_judged(
    drawn: dict[str, Figure],
) -> None:
    (axes,) = drawn["importance"].axes
    assert {label.get_text() for label in axes.get_yticklabels()} == {"lr", "dropout", "optimizer", "hidden"}
    assert "4 fields need some 40 trials" in axes.get_title()


def test_importances_of_fewer_trials_than_fields_are_left_out(tmp_path: Path) -> None:
    few = stand_in_sweep(tmp_path, "regression", lambda number, fields: ("FINISHED", number), trials=3, space=SPACE)
    assert "importance" not in figures(few.folder)


def test_labels_of_parallel_coordinates_do_not_overlap_and_a_missing_value_is_no_number(
    drawn: dict[str, Figure],
) -> None:
    figure = drawn["parallel-coordinates"]
    figure.canvas.draw()
    assert not any("None" in text.get_text() for text in texts(figure))
    assert sum(text.get_text() == "not set" for text in texts(figure)) == 1  # of momentum, with optimizer adamw
    boxes = {text: text.get_window_extent() for text in texts(figure)}
    assert [(a.get_text(), b.get_text()) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])] == []


def test_two_goals_have_a_pareto_front_with_the_pruned_trials_beside_it(tmp_path: Path) -> None:
    ends: list[Outcome] = [("FINISHED", 0.9, 300), ("FINISHED", 0.5, 100), ("FINISHED", 0.4, 200), ("PRUNED", 0.95, 50)]
    sweep = stand_in_sweep(tmp_path, "compression", lambda number, fields: ends[number], trials=4)
    (axes,) = figures(sweep.folder)["pareto-front"].axes
    points = {dots.get_label(): sorted(map(tuple, dots.get_offsets().data)) for dots in axes.collections}
    assert points["pruned"] == [(50, 0.95)]
    assert points["front"] == [(100, 0.5), (300, 0.9)]
