"""Exact match and F1 in characters of predicted answers, the trivial baseline, and the check of a submission."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from labs.core.errors import shown
from labs.core.text_file import csv_rows


def normalise(answer: str) -> str:
    """The text that is compared and submitted: without commas, which the submission's format excludes, and spaces."""
    return answer.replace(",", "").replace(" ", "")


def exact_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """Fraction of the predictions that equal the answer character by character, once normalised."""
    return fmean(normalise(a) == normalise(b) for a, b in zip(predictions, answers, strict=True))


def character_f1(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """Mean F1 over the predictions (Rajpurkar et al., arXiv:1606.05250, with characters in place of words).

    F1 = 2 * precision * recall / (precision + recall), of the characters of prediction and answer as multisets.
    """
    return fmean(_f1(normalise(a), normalise(b)) for a, b in zip(predictions, answers, strict=True))


def _f1(prediction: str, answer: str) -> float:
    common = _common_characters(prediction, answer)
    # precision = common / len(prediction), recall = common / len(answer)
    return 2 * common / (len(prediction) + len(answer)) if common else float(prediction == answer)


def _common_characters(one: str, other: str) -> int:
    """Size of the intersection of two texts as multisets of characters."""
    return (Counter(one) & Counter(other)).total()


def trivial_answer(question: str, paragraph: str) -> str:
    """An answer without learning: the clause with most of the question's characters, less those characters."""
    clauses = re.split("[，。；！？,;!?]", paragraph)
    best = max(clauses, key=lambda clause: _common_characters(clause, question))
    return "".join(character for character in best if character not in question)


def check_answers(file: Path, header: tuple[str, str]) -> list[str]:
    """The first fault of a submission as a sentence with its line; empty if there is none. The ids are those of the
    test set, so all that is checked is that each is an integer and occurs once."""
    rows = csv_rows(file)
    if tuple(next(rows, ())) != header:
        return [f"{file.name} line 1: the header must be '{','.join(header)}'"]
    seen = set[str]()
    for number, row in enumerate(rows, 2):
        if len(row) != 2 or not row[0].isdecimal():
            return [
                f"{file.name} line {number}: expected '<integer>,<answer without commas>', found {shown(','.join(row))}"
            ]
        if "," in row[1]:
            return [f"{file.name} line {number}: the answer {shown(row[1])} has a comma, expected none"]
        if row[0] in seen:
            return [f"{file.name} line {number}: id {row[0]} occurs twice"]
        seen.add(row[0])
    return [] if seen else [f"{file.name} has no answers"]
