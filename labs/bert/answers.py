"""How right an answer is: exact match, and overlap in characters, as the course's judge compares texts."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean


def plain(answer: str) -> str:
    """What is compared: without commas, which the submission's format has no place for, and spaces."""
    return answer.replace(",", "").replace(" ", "")


def exact_match(found: Sequence[str], right: Sequence[str]) -> float:
    """Share of answers that are the right one to the character."""
    return fmean(plain(a) == plain(b) for a, b in zip(found, right, strict=True))


def character_f1(found: Sequence[str], right: Sequence[str]) -> float:
    """Mean over the answers of the harmonic mean of precision and recall in characters, counted as often as they stand
    (Rajpurkar et al., arXiv:1606.05250, with characters for words)."""
    return fmean(_overlap(plain(a), plain(b)) for a, b in zip(found, right, strict=True))


def _overlap(found: str, right: str) -> float:
    common = _common(found, right)
    return 2 * common / (len(found) + len(right)) if common else float(found == right)


def _common(one: str, other: str) -> int:
    """Characters that both texts have, counted as often as they stand in both."""
    return (Counter(one) & Counter(other)).total()


def nearest(question: str, paragraph: str) -> str:
    """An answer without learning: of the clause that has most of the question's characters, what the question lacks."""
    clauses = re.split("[，。；！？,;!?]", paragraph)
    best = max(clauses, key=lambda clause: _common(clause, question))
    return "".join(character for character in best if character not in question)


def check_answers(file: Path, header: tuple[str, str]) -> list[str]:
    """The first fault of a submission as a sentence with its line; empty if there is none. Ids are the test set's own:
    each must be an integer that stands once."""
    with file.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.reader(handle))
    if not rows or tuple(rows[0]) != header:
        return [f"{file.name} line 1: the header must be '{','.join(header)}'"]
    seen = set[str]()
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or not row[0].isdecimal():
            return [f"{file.name} line {number}: expected '<integer>,<answer without commas>', found {','.join(row)!r}"]
        if "," in row[1]:
            return [f"{file.name} line {number}: the answer {row[1]!r} has a comma, expected none"]
        if row[0] in seen:
            return [f"{file.name} line {number}: id {row[0]} stands twice"]
        seen.add(row[0])
    return [] if seen else [f"{file.name} has no answers"]
