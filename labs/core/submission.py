"""Submission tables: a CSV file whose header has two names and whose rows have an id and a prediction."""

import csv
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from labs.core.errors import shown
from labs.core.text_file import csv_rows


def write(file: Path, header: tuple[str, str], rows: Iterable[tuple[object, object]]) -> None:
    """Write a table; the parent folder is made if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])


def predictions(file: Path) -> list[str]:
    """The last column of a table without its header: predictions, or the true labels of an answers file."""
    return [row[-1] for row in csv_rows(file)][1:]


def first_id(file: Path) -> str:
    """The id of a table's first row; empty where there is none."""
    return next((row[0] for row in islice(csv_rows(file), 1, None) if row), "")


def accuracy(file: Path, truth: Sequence[str], most_frequent: str) -> dict[str, float]:
    """`test/accuracy` of a table's predictions, and `test/trivial`: that of always guessing the most frequent one."""
    correct = [prediction == label for prediction, label in zip(predictions(file), truth, strict=True)]
    trivial = sum(label == most_frequent for label in truth)
    return {"test/accuracy": sum(correct) / len(truth), "test/trivial": trivial / len(truth)}


def check(
    file: Path, header: tuple[str, str], form: str, key: Callable[[int], str], fault: Callable[[str], str | None]
) -> list[str]:
    """The first fault of a table as a sentence with its line number; empty if there is none.

    Args:
        file: the CSV file.
        header: the two names that the first line must have.
        form: the form of a row's prediction, for messages: `<float>`.
        key: row number, from 0, -> the id that the row must begin with.
        fault: prediction -> what is wrong with it (`is not a finite number`), or None.

    Raises:
        BadInput: the file is no table in UTF-8.
    """
    rows, number = csv_rows(file), -1
    if tuple(next(rows, ())) != header:
        return [f"{file.name} line 1: the header must be '{','.join(header)}'"]
    for number, row in enumerate(rows):
        if len(row) != 2 or row[0] != key(number):
            return [f"{file.name} line {number + 2}: expected '{key(number)},{form}', found {shown(','.join(row))}"]
        if wrong := fault(row[1]):
            return [f"{file.name} line {number + 2}: {shown(row[1])} {wrong}"]
    return [] if number >= 0 else [f"{file.name} has no predictions"]


def class_fault(classes: int) -> Callable[[str], str | None]:
    """The `fault` of `check` for predictions that must be a class number, 0 to `classes - 1`."""
    valid = {str(label) for label in range(classes)}
    return lambda prediction: None if prediction in valid else f"is not a class; classes are 0 to {classes - 1}"
