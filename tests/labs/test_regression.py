"""Promises of the regression lab: its data format, its folds, its training and its submission."""

from pathlib import Path

import numpy as np
import pytest
import torch

from labs.core import events, shards
from labs.core.errors import BadInput
from labs.core.run import Run
from labs.regression import data, windows
from labs.regression.lesson import LAB, build, select_columns, split
from tests.labs.store import Store
from tests.labs.workers import last_metrics, train_on


def test_the_tables_have_the_courses_shape(tmp_path: Path) -> None:
    data.make(tmp_path, 0, "course")
    assert data.check(tmp_path) == []
    data.prepare(tmp_path, tmp_path, "folder")
    found = shards.manifest(tmp_path)
    assert found["splits"] == {"train": 2699, "test": 1078}
    assert {key: found["facts"][key] for key in ("states", "days", "block")} == {"states": 37, "days": 5, "block": 16}


def test_another_edition_with_other_states_and_columns_is_accepted(tmp_path: Path) -> None:
    header = ["id", "AA", "BB", "cli", "tested_positive", "cli.1", "tested_positive.1", "cli.2", "tested_positive.2"]
    rows = [[str(i), *("10" if i % 2 else "01"), *("1.5" for _ in range(6))] for i in range(6)]
    (tmp_path / data.TRAIN).write_text("\n".join(",".join(row) for row in [header, *rows]))
    (tmp_path / data.TEST).write_text("\n".join(",".join(row[:-1]) for row in [header, *rows]))
    assert data.check(tmp_path) == []
    facts = data.layout(header)
    assert (facts["states"], facts["days"], facts["block"]) == (2, 3, 2)


def edit(text: str, line: int, column: int, value: str | None) -> str:
    lines = text.split("\n")
    cells = lines[line].rstrip("\r").split(",")
    cells[column : column + 1] = [] if value is None else [value]
    lines[line] = ",".join(cells)
    return "\n".join(lines)


FAULTS = {
    "no number": ((3, 50, "n/a"), "covid.train.csv line 4: 'n/a' is not a finite number"),
    "infinite": ((2, 60, "inf"), "covid.train.csv line 3: 'inf' is not a finite number"),
    "short row": ((2, 60, None), "covid.train.csv line 3: 86 columns, expected 87"),
    "no state": ((1, 1, "7"), "covid.train.csv line 2: exactly one state column must be 1"),
    "no id": ((0, 0, "row"), "covid.train.csv: the first column must be 'id', found 'row'"),
    "too many columns": ((0, 60, "shop,extra"), "covid.train.csv: after id and the states, the same columns must"),
    "days differ": ((0, 60, "extra"), "covid.train.csv: day 4 has column 'extra' where day 1 has 'travel"),
    "no target": ((0, 86, "cases"), "covid.train.csv: "),
    "no states in the test header": (
        (0, 1, "XX"),
        "covid.test.csv: its header must be that of covid.train.csv without",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_reported_with_file_line_and_expected_value(source: Path, tmp_path: Path, fault: str) -> None:
    place, message = FAULTS[fault]
    for name in (data.TRAIN, data.TEST):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    (tmp_path / data.TRAIN).write_text(edit((source / data.TRAIN).read_text(), *place))
    assert message in " ".join(data.check(tmp_path))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert [Path(fault.split()[0]).name for fault in data.check(tmp_path)] == [data.TRAIN, data.TEST]


@pytest.mark.parametrize("preset", LAB.presets)
def test_a_tiny_run_beats_the_trivial_predictor_and_delivers(store: Store, data_dir: Path, preset: str) -> None:
    delivered = store.finished("regression", preset) / "deliver"
    scores = LAB.score(delivered, data_dir)
    assert scores["test/mse"] < scores["test/trivial"]
    assert LAB.check_submission(delivered / "pred.csv") == []


def test_the_report_says_whether_the_training_ended_too_early(store: Store) -> None:
    """By the epoch with the lowest validation error: the last one or an earlier one."""
    folder = store.finished("regression", "boss")
    errors = [event["metrics"]["val/mse"] for event in events.read(folder) if "val/mse" in event["metrics"]]
    best = 1 + int(np.argmin(errors))
    ending = "the last epoch" if best == len(errors) else f"epoch {best}, whose weights are kept"
    assert f"The validation error is lowest in {ending}" in (folder / "deliver/report.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,tested_positive", "id,value", "line 1: the header must be 'id,tested_positive'"),
        ("\n1,", "\n7,", "line 3: expected '1,<float>'"),
        ("\n2,", "\n2,x", "is not a finite number"),
    ],
)
def test_an_invalid_submission_is_reported(store: Store, tmp_path: Path, old: str, new: str, message: str) -> None:
    delivered = (store.finished("regression", "strong") / "deliver/pred.csv").read_text().replace("\r\n", "\n")
    (tmp_path / "pred.csv").write_text(delivered.replace(old, new, 1))
    assert message in " ".join(LAB.check_submission(tmp_path / "pred.csv"))


def rows_of(data_dir: Path) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    inputs, target = (c.all() for c in shards.ArrowDataset(data_dir, "train", ("inputs", "target")).columns)
    return inputs, target, shards.manifest(data_dir)["facts"]


def days_of(inputs: torch.Tensor, target: torch.Tensor, facts: dict[str, int]) -> list[set[tuple[float, ...]]]:
    """The set of each row's days; a day is its state and its survey answers."""
    states = facts["states"]
    complete = torch.cat([inputs[:, 1:], target[:, None]], 1)
    return [
        {(*row[:states].tolist(), *day.tolist()) for day in row[states:].view(facts["days"], facts["block"])}
        for row in complete
    ]


def test_validation_windows_share_no_day_with_training_but_each_state_is_in_both(data_dir: Path) -> None:
    inputs, target, facts = rows_of(data_dir)
    train_mask, val_mask = split(inputs, target, facts, LAB.resolve("boss", "tiny"), seed=0)
    days, states = days_of(inputs, target, facts), inputs[:, 1 : 1 + facts["states"]].argmax(1)
    for trains, validates in zip(train_mask.T, val_mask.T, strict=True):
        train_days = set().union(*(days[i] for i in trains.nonzero().flatten()))
        assert not any(days[i] & train_days for i in validates.nonzero().flatten())
        assert set(states[trains].tolist()) == set(states[validates].tolist()) == set(range(facts["states"]))
    assert (val_mask.sum(1) == 1).all()  # each row is held out from one member
    assert train_mask.float().mean() > 0.5


def test_the_courses_random_split_leaks(data_dir: Path) -> None:
    """`split=random` exists, and most of its validation rows share days with training rows."""
    inputs, target, facts = rows_of(data_dir)
    train_mask, val_mask = split(inputs, target, facts, LAB.resolve("simple", "tiny", {"split": "random"}), seed=0)
    days = days_of(inputs, target, facts)
    train_days = set().union(*(days[i] for i in train_mask[:, 0].nonzero().flatten()))
    leaking = [bool(days[i] & train_days) for i in val_mask[:, 0].nonzero().flatten()]
    assert sum(leaking) > len(leaking) / 2
    assert val_mask.sum() == len(inputs) / 5
    assert (train_mask ^ val_mask).all()


def test_days_are_numbered_in_time_order() -> None:
    """Shuffled windows of two states, one of which has a gap that no window spans."""
    answers = {0: [7.0, 5.0, 6.0, 1.0, 2.0], 1: [7.0, 5.0, 9.0, 8.0, 3.0, 4.0, 1.0]}
    starts = [(1, 4), (0, 2), (0, 0), (1, 0), (1, 3), (0, 1)]
    states = np.array([state for state, _ in starts])
    days = np.array([[[answers[state][first + i]] for i in range(3)] for state, first in starts])
    numbers = windows.day_numbers(states, days)
    first = {start: number[0] for start, number in zip(starts, numbers, strict=True)}
    assert (np.diff(numbers, axis=1) == 1).all()
    assert first[0, 1] == first[0, 0] + 1
    assert first[0, 2] == first[0, 0] + 2
    assert first[1, 3] == first[1, 4] - 1
    assert first[1, 0] not in range(first[1, 3] - 2, first[1, 4] + 3)


def test_rows_that_are_all_equal_cannot_be_cut_into_periods(tmp_path: Path) -> None:
    inputs = torch.cat([torch.zeros(20, 1), torch.ones(20, 1), torch.ones(20, 7)], 1)
    with pytest.raises(BadInput, match="20 rows leave nothing to train on"):
        split(inputs, torch.ones(20), {"states": 1, "days": 2, "block": 4}, LAB.resolve("simple", "tiny"), 0)


def test_an_ensemble_predicts_the_mean_of_independent_networks(data_dir: Path, tmp_path: Path) -> None:
    """Members share batches but no gradient: one member's output has no gradient in the other's parameters."""
    inputs, target, facts = rows_of(data_dir)
    config = LAB.resolve("boss", "tiny", {"folds": 2, "dropout": 0.0})
    train_mask, _ = split(inputs, target, facts, config, seed=0)
    model = build(config, inputs, target, train_mask, facts)
    x, offset = model.prepare(inputs)
    outputs = model(x)
    assert torch.allclose(model.predict(inputs), offset + (outputs[:, 0] + outputs[:, 1]) / 2)
    outputs[:, 0].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.members[1].parameters())


def test_columns_are_selected_and_standardised_on_the_training_rows(data_dir: Path) -> None:
    """The values of the validation rows have no effect on either."""
    inputs, target, facts = rows_of(data_dir)
    config = LAB.resolve("medium", "tiny")
    train_mask, val_mask = split(inputs, target, facts, config, seed=0)
    model = build(config, inputs, target, train_mask, facts)
    changed = inputs.clone()
    changed[val_mask[:, 0], 1 + facts["states"] :] = 99.0
    again = build(config, changed, target, train_mask, facts)
    assert torch.equal(model.chosen, again.chosen)
    assert torch.equal(model.shift, again.shift)
    x, _ = model.prepare(inputs[train_mask[:, 0]])
    assert torch.allclose(x.mean(0), torch.zeros(()), atol=1e-3)
    assert torch.allclose(x.std(0), torch.ones(()), atol=1e-3)


def test_trees_find_an_interaction_that_linear_regression_misses() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(600, 12, generator=generator)
    target = inputs[:, 5] * inputs[:, 8]
    config = LAB.resolve("strong", "tiny", {"num_features": 2})
    assert select_columns(config, inputs, target, states=1).tolist() == [5, 8]


def test_two_workers_train_the_same_weights_as_one(data_dir: Path, tmp_path: Path) -> None:
    """Three steps on the same global batches, and the same validation error over all rows."""
    config = LAB.resolve("boss", "tiny", {"folds": 2, "epochs": 1, "passes": 3, "batch_size": 400, "dropout": 0.0})
    (one,) = train_on(1, "regression", config, data_dir, tmp_path / "one")
    two = train_on(2, "regression", config, data_dir, tmp_path / "two")
    assert all(torch.equal(two[0][name], two[1][name]) for name in one)
    assert all(torch.allclose(two[0][name], one[name], atol=1e-5) for name in one)
    assert last_metrics(tmp_path / "two") == pytest.approx(last_metrics(tmp_path / "one"), rel=1e-5)


def test_a_diverged_training_is_reported_in_one_sentence(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match="val/mse was never a finite number, so there is no model; a smaller learning rate"
    ):
        LAB.fit(LAB.resolve("simple", "tiny", {"lr": 1e30}), Run(tmp_path, data_dir))
