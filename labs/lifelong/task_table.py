"""The submission of homework 14: `task_accuracy.csv`, the final model's test accuracy on each task.

Tasks count 1, 2, ... in the order of learning; `angle` is the task's rotation in degrees (0 in the other scenarios),
`accuracy` is in [0, 1].
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from labs.core.errors import shown

HEADER = "task,angle,accuracy"
ANGLES = [0.0, 20.0, 40.0, 60.0, 80.0]
"""The course's tasks, in degrees, counter-clockwise."""


def write(file: Path, angles: Sequence[float], accuracies: Sequence[float]) -> None:
    with file.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(HEADER.split(","))
        for number, (angle, accuracy) in enumerate(zip(angles, accuracies, strict=True), 1):
            writer.writerow([number, f"{angle:g}", f"{accuracy:.6f}"])


def read(file: Path) -> list[float]:
    """The accuracies."""
    with file.open(newline="", encoding="utf-8-sig") as handle:
        return [float(row["accuracy"]) for row in csv.DictReader(handle)]


def check(file: Path) -> list[str]:
    """The first fault of a table as a sentence with its line; empty if it has the course's five angles in any order or,
    for the scenarios without rotations, as many times 0."""
    lines, angles = file.read_text(encoding="utf-8-sig").splitlines(), []
    if lines[:1] != [HEADER]:
        return [f"{file.name} line 1: the header must be {HEADER!r}"]
    for number, line in enumerate(lines[1:], 1):
        row = re.fullmatch(rf"{number},(-?\d+(?:\.\d+)?),(?:0(?:\.\d+)?|1(?:\.0+)?)", line)
        if row is None:
            expected = f"{number},<degrees>,<fraction from 0 to 1>"
            return [f"{file.name} line {number + 1}: expected '{expected}', found {shown(line)}"]
        angles.append(float(row[1]))
    if sorted(angles) in (ANGLES, [0.0] * len(ANGLES)):
        return []
    return [f"{file.name}: expected the angles {ANGLES}, or 0 five times in other scenarios, found {sorted(angles)}"]
