"""COVID-19 survey tables: the CSV format of homework 1, its checks, and generated tables in the same format.

A row holds one state's survey answers on consecutive days: an id, one column for each state (one-hot), then the same
block of columns for each day. The last column of a block is `tested_positive`, the percentage of positive tests on that
day. The test file lacks the very last column, which is the target.
"""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labs.core import shards
from labs.core.errors import BadInput, shown
from labs.core.listing import find, required
from labs.core.text_file import csv_rows

TRAIN, TEST, ANSWERS = "covid.train.csv", "covid.test.csv", "answers/covid.test.csv"
OTHER_NAMES = {TRAIN: "covid_train.csv", TEST: "covid_test.csv"}
"""The tables' names in the course's edition of 2023; those of 2021 are as in 2022."""
TARGET = "tested_positive"
STATES = (
    "AL AK AZ AR CA CO CT FL GA ID IL IN IA KS KY LA MD MA MI MN MS MO NE NV NJ NM NY NC OH OK OR RI SC TX UT VA WA"
).split()
ILLNESS = ["cli", "ili", "hh_cmnty_cli", "nohh_cmnty_cli"]
BEHAVIOUR = [
    "wearing_mask",
    "travel_outside_state",
    "work_outside_home",
    "shop",
    "restaurant",
    "spent_time",
    "large_event",
    "public_transit",
]
MENTAL = ["anxious", "depressed", "worried_finances"]
BLOCK = [*ILLNESS, *BEHAVIOUR, *MENTAL, TARGET]
DAYS = 5
COUNTS = {
    "tiny": {"states": 6, "train": 300, "test": 120},
    "small": {"states": 37, "train": 2699, "test": 1078},
    "course": {"states": 37, "train": 2699, "test": 1078},
}
"""Size -> number of states, rows of the training table, rows of the test table. `small` has the course's own counts."""
SURVEY_NOISE = 0.4
"""Standard deviation of the noise, in percentage points, that is added to a state's true positive rate. Its square,
0.16, is the lowest mean squared error that any predictor can reach."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write generated tables in the course's format; the test targets go to `answers/`.

    Each state has an epidemic wave: a smooth curve plus an autoregressive process. The illness columns are noisy,
    nonlinear functions of the wave, with a factor for each state. The behaviour columns drive the next day's growth
    through an interaction. The mental health columns depend on the wave only weakly. The test days of a state are
    consecutive, and no training window contains any of them.
    """
    rng = np.random.default_rng([seed, 1])
    states, train_rows, test_rows = COUNTS[size].values()
    per_state = [-(-rows // states) for rows in (train_rows, test_rows)]
    train, test = [], []
    for one_hot in np.eye(states):
        days = sum(per_state) + 3 * (DAYS - 1)
        windows = _windows(_state_days(rng, days), one_hot)
        first = int(rng.integers(0, per_state[0] + 1))
        last = first + per_state[1]
        test += windows[first + DAYS - 1 : last + DAYS - 1]
        train += windows[:first] + windows[last + 2 * (DAYS - 1) :]
    order = rng.permutation(len(train))[:train_rows]
    _write(folder / TRAIN, [train[i] for i in order], with_target=True)
    rows = [test[i] for i in rng.permutation(len(test))[:test_rows]]
    _write(folder / TEST, rows, with_target=False)
    (folder / "answers").mkdir(exist_ok=True)
    _write(folder / ANSWERS, rows, with_target=True)


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if the folder is valid."""
    faults = [f"{folder / name} is missing" for name, other in OTHER_NAMES.items() if not find(folder, name, other)]
    if faults:
        return faults
    headers = {name: _header(_table(folder, name)) for name in (TRAIN, TEST)}
    faults = _check_header(TRAIN, headers[TRAIN])
    if not faults and headers[TEST] != headers[TRAIN][:-1]:
        faults = [f"{TEST}: its header must be that of {TRAIN} without the last column"]
    if faults:
        return faults
    for name in (TRAIN, TEST):
        faults += _check_rows(_table(folder, name), len(headers[name]), layout(headers[TRAIN])["states"])
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack both tables into `inputs` (all columns but the target) and `target` (training table only)."""
    header = _header(_table(folder, TRAIN))
    splits = {"train": _batches(_table(folder, TRAIN), header), "test": _batches(_table(folder, TEST), header)}
    return shards.pack(out, splits, origin=origin, facts=layout(header))


def read_table(path: Path, columns: list[str]) -> np.ndarray:
    """The rows of a table that has the test file's columns, float32 (rows, columns); a last column with the target is
    left out.

    Raises:
        BadInput: it can't be read, or has other columns; the message names the file.
    """
    if not path.is_file():
        raise BadInput(f"table {path} {'is a folder' if path.is_dir() else 'does not exist'}")
    header = _without_suffix(_header(path))
    if header[: len(columns)] != _without_suffix(columns) or header[len(columns) :] not in ([], [TARGET]):
        found = f"{len(header)} columns, {shown(','.join(header[:3]))}, ..."
        raise BadInput(
            f"{path}: expected the {len(columns)} columns that the run was trained on, id, {columns[1]}, ...; found "
            f"{found}: take a table with those columns, or name with --model a run that was trained on these"
        )
    if faults := _check_rows(path, len(header), layout([*columns, TARGET])["states"]):
        raise BadInput(faults[0])
    rows = csv_rows(path)
    next(rows)
    return np.array([row[: len(columns)] for row in rows], np.float32)


def layout(header: list[str]) -> dict[str, Any]:
    """Number of states, days and columns of a day's block, derived from the header, since editions of the data differ.

    The one-hot columns are those before the first column name that occurs more than once. Names that differ only in
    pandas' suffixes (.1, .2) count as the same name.
    """
    names = _without_suffix(header)[1:]
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    states = next((i for i, name in enumerate(names) if seen[name] > 1), len(names))
    days = seen.get(names[states], 1) if states < len(names) else 1
    return {"states": states, "days": days, "block": (len(names) - states) // days, "columns": header[:-1]}


def _without_suffix(header: list[str]) -> list[str]:
    return [re.sub(r"\.\d+$", "", name) for name in header]


def _state_days(rng: np.random.Generator, days: int) -> np.ndarray:
    """One state's survey answers, (days, 16), in percent."""
    rate, habits = _positive_rate(rng, days)
    tenth = rate / 10
    expected = np.stack([tenth**0.7, 1.1 * tenth**0.7, 12 * np.log1p(0.55 * tenth), 9 * np.log1p(0.55 * tenth)], 1)
    noise = rng.normal(0, 1, (days, 4)) * np.array([0.09, 0.1, 0.5, 0.45])
    illness = expected * rng.normal(1, 0.08, 4) + noise
    behaviour = 50 + 12 * habits + rng.normal(0, 1.5, (days, 8))
    mental = 20 + 3 * rng.normal(0, 1, 3) + 0.05 * rate[:, None] + rng.normal(0, 1, (days, 3))
    positive = rate + rng.normal(0, SURVEY_NOISE, days)
    return np.concatenate([illness, behaviour, mental, positive[:, None]], 1).clip(0, 100)


def _positive_rate(rng: np.random.Generator, days: int) -> tuple[np.ndarray, np.ndarray]:
    """One state's true positive rate in percent, (days,), and the behaviour that drives it, (days, 8), of mean 0.

    The log-odds of a positive test are two sine waves around a mean plus an autoregressive process.
    """
    time = np.arange(days) / 30
    phase, height = rng.uniform(0, 6, 2), rng.uniform(0.3, 0.8, 2)
    wave = rng.normal(-1.65, 0.4) + sum(
        h * np.sin(f * time + p) for h, f, p in zip(height, (1.1, 2.3), phase, strict=True)
    )
    habits = 0.7 * rng.normal(0, 1, 8) + np.cumsum(rng.normal(0, 0.05, (days, 8)), 0) + rng.normal(0, 0.8, (days, 8))
    # Restaurant visits raise infections where few people wear masks and lower them where many do. A linear model can't
    # represent this interaction.
    masks, restaurants, events = habits[:, 0], habits[:, 4], habits[:, 6]
    contagion = np.tanh(restaurants) * np.tanh(-masks) + 0.2 * np.tanh(events)
    growth = np.zeros(days)
    for day in range(1, days):
        growth[day] = 0.9 * growth[day - 1] + 0.18 * contagion[day - 1] + rng.normal(0, 0.015)
    return 100 / (1 + np.exp(-(wave + growth))), habits


def _windows(days: np.ndarray, one_hot: np.ndarray) -> list[np.ndarray]:
    return [np.concatenate([one_hot, days[i : i + DAYS].ravel()]) for i in range(len(days) - DAYS + 1)]


def _write(path: Path, rows: list[np.ndarray], *, with_target: bool) -> None:
    states = len(rows[0]) - DAYS * len(BLOCK)
    header = ["id", *STATES[:states], *(BLOCK * DAYS)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header if with_target else header[:-1])
        for number, row in enumerate(rows):
            values = row if with_target else row[:-1]
            writer.writerow([number, *(f"{value:.7g}" for value in values)])


def _table(folder: Path, name: str) -> Path:
    return required(folder, name, OTHER_NAMES[name])


def _header(path: Path) -> list[str]:
    return next(csv_rows(path), [])


def _check_header(name: str, header: list[str]) -> list[str]:
    if not header or header[0] != "id":
        return [f"{name}: the first column must be 'id', found {shown(header[0] if header else 'an empty file')}"]
    found = layout(header)
    if found["days"] < 2 or found["block"] * found["days"] + found["states"] + 1 != len(header):
        return [
            f"{name}: after id and the states, the same columns must repeat for each day; found {len(header)} columns"
        ]
    names, block = _without_suffix(header)[found["states"] + 1 :], found["block"]
    for number, column in enumerate(names):
        if column != names[number % block]:
            first = names[number % block]
            return [f"{name}: day {1 + number // block} has column {shown(column)} where day 1 has {shown(first)}"]
    if not header[-1].startswith(TARGET):
        return [f"{name}: the last column must be {TARGET!r}, found {header[-1]!r}"]
    return []


def _check_rows(path: Path, columns: int, states: int) -> list[str]:
    rows, number = csv_rows(path), 0
    next(rows)
    for number, row in enumerate(rows, 2):
        if len(row) != columns:
            return [f"{path.name} line {number}: {len(row)} columns, expected {columns}"]
        bad = next((cell for cell in row if not is_finite(cell)), None)
        if bad is not None:
            return [f"{path.name} line {number}: {shown(bad)} is not a finite number"]
        one_hot = [float(cell) for cell in row[1 : 1 + states]]
        if sum(one_hot) != 1 or not {*one_hot} <= {0, 1}:
            return [f"{path.name} line {number}: exactly one state column must be 1 and the others 0"]
    return [] if number else [f"{path.name} has no rows"]


def is_finite(cell: str) -> bool:
    """Whether a cell of a table holds a number that is finite in single precision, as the data are packed."""
    try:
        return abs(float(cell)) <= float(np.finfo(np.float32).max)
    except ValueError:
        return False


def _batches(path: Path, training_header: list[str]) -> Iterator[shards.Batch]:
    rows = csv_rows(path)
    has_target = len(next(rows)) == len(training_header)
    while read := list(islice(rows, 1000)):
        values = np.array([[float(cell) for cell in row] for row in read])
        inputs = values[:, :-1] if has_target else values
        batch: dict[str, np.ndarray] = {"inputs": inputs.astype(np.float32)}
        if has_target:
            batch["target"] = values[:, -1].astype(np.float32)
        yield batch
