"""Which rows of a survey table overlap: a row is a window of consecutive days and shares most of them with the next.

A random split puts a window into the training set while its neighbour, which has four of the same five days, is in the
validation set. The rows of a table are in no order, so a day is identified by its state and its survey answers.
"""

import numpy as np


def day_numbers(states: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Number the days of all windows so that consecutive days have consecutive numbers.

    Two days with the same state and the same answers are the same day.

    Args:
        states: (rows,) index of each row's state.
        days: (rows, days, columns) survey answers.

    Returns:
        (rows, days) integers. Periods that no window connects have a gap between their numbers and come in any order.
    """
    rows, length, columns = days.shape
    answers = days.reshape(rows * length, columns)
    keyed = np.concatenate([np.repeat(states, length)[:, None], answers], 1)
    # The distinct days, in no order: `day` (rows, length) has the index of each window's days among them.
    day = np.unique(keyed, axis=0, return_inverse=True)[1].reshape(rows, length)
    next_day = dict(zip(day[:, :-1].ravel().tolist(), day[:, 1:].ravel().tolist(), strict=True))
    number = np.full(day.max() + 1, -1)
    first_days = sorted(set(next_day) - set(next_day.values()))
    count = 0
    # Start at the days that follow no other day. Days that follow each other in a circle, which happens when all
    # answers are equal, have no first day and are numbered last.
    for start in [*first_days, *range(len(number))]:
        current = start
        while number[current] < 0:
            number[current] = count
            count += 1
            current = next_day.get(current, current)
        count += length
    return number[day]


def period_folds(states: np.ndarray, numbers: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Cut each state's days into `folds` periods with equally many rows and assign a fold to each at random.

    Args:
        states: (rows,) index of each row's state.
        numbers: (rows, days) from `day_numbers`.

    Returns:
        (rows,) the fold of each row, 0 to `folds - 1`.
    """
    fold = np.empty(len(states), np.int64)
    for state in np.unique(states):
        rows = np.flatnonzero(states == state)
        in_time_order = rows[np.argsort(numbers[rows, 0], kind="stable")]
        for period, number in zip(np.array_split(in_time_order, folds), rng.permutation(folds), strict=True):
            fold[period] = number
    return fold


def overlapping(numbers: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Mask (rows,) of the rows that share a day with a held-out row, the held-out rows included."""
    return np.asarray(np.isin(numbers, numbers[held_out]).any(1))
