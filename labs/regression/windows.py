"""Which rows of a survey table overlap: a row is a window of consecutive days, and its neighbours share most of them.

A random split puts a window into training whose neighbour, with four of its five days, validates. Rows of one table
are in no order, so days are recognised by what was answered on them.
"""

import numpy as np


def day_numbers(states: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Number the days of all windows: the same state and answers are the same day, and tomorrow is today plus one.

    Args:
        states: (rows,) number of each row's state.
        days: (rows, days, columns) the answers.

    Returns:
        (rows, days) integers. Stretches that no window connects follow each other in any order, with a gap between.
    """
    rows, length, columns = days.shape
    answers = days.reshape(rows * length, columns)
    keyed = np.concatenate([np.repeat(states, length)[:, None], answers], 1)
    seen = np.unique(keyed, axis=0, return_inverse=True)[1].reshape(rows, length)
    following = dict(zip(seen[:, :-1].ravel().tolist(), seen[:, 1:].ravel().tolist(), strict=True))
    number = np.full(seen.max() + 1, -1)
    first = set(following) - set(following.values())
    count = 0
    # Days that no other one leads to begin a stretch; days in a circle (all answers alike) are left for the end.
    for day in [*sorted(first), *range(len(number))]:
        while number[day] < 0:
            number[day] = count
            count += 1
            day = following.get(day, day)
        count += length
    return number[seen]


def stretches(states: np.ndarray, numbers: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Cut each state's time into `folds` stretches of equally many rows and deal them out at random.

    Returns:
        (rows,) the fold of each row, 0 to `folds - 1`; the folds of a state are whole stretches of its days.
    """
    fold = np.empty(len(states), np.int64)
    for state in np.unique(states):
        rows = np.flatnonzero(states == state)
        order = rows[np.argsort(numbers[rows, 0], kind="stable")]
        for part, dealt in zip(np.array_split(order, folds), rng.permutation(folds), strict=True):
            fold[part] = dealt
    return fold


def overlapping(numbers: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Mask (rows,) of the rows that share a day with a held-out row; the held-out rows are among them."""
    return np.asarray(np.isin(numbers, numbers[held_out]).any(1))
