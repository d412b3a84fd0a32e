"""`report.md`: the questions of a homework, each answered with figures, tables and numbers of one run.

The questions stand in the lesson's docstring, in its section `Report`, each as `    (a)  question`, whose further lines
are indented to the question's first word.
"""

import csv
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from labs.core import events

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from labs.core.lab import Lab

FILE = "report.md"
Cell = str | int | float


class Report:
    """The report of one run, written part by part: `question`, then its answer of `text`, `figure` and `table`.

    Args:
        lab: the lab, whose lesson has the questions.
        folder: the run's folder.
        out: where `report.md` and its figures are written.
    """

    def __init__(self, lab: "Lab", folder: Path, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.questions = out, questions(lab)
        self.parts = [f"# Homework {lab.heading.number}: {lab.heading.title}", _best(lab, folder)]

    def question(self, letter: str) -> None:
        """Begin the answer of a question."""
        self.parts.append(f"## ({letter}) {self.questions[letter]}")

    def text(self, paragraph: str) -> None:
        """A paragraph, in Markdown."""
        self.parts.append(" ".join(paragraph.split()))

    def figure(self, name: str, figure: "Figure", caption: str) -> None:
        """Write a figure as `<name>.png` and show it, with a caption below it."""
        from labs.core.plots import save

        save(figure, self.out / f"{name}.png")
        self.image(f"{name}.png", caption)

    def image(self, file: str, caption: str) -> None:
        """Show a picture of the folder, with a caption below it."""
        self.parts += [f"![{caption}]({file})", f"*{caption}*"]

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Cell]], file: str = "") -> None:
        """A table; written as a CSV file of the folder as well where a name for it is given."""
        body = [[_rounded(cell) for cell in row] for row in rows]
        lines = [header, ["---"] * len(header), *body]
        self.parts.append("\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines))
        if file:
            with (self.out / file).open("w", newline="", encoding="utf-8") as handle:
                csv.writer(handle).writerows([header, *body])

    def write(self) -> None:
        """Write `report.md`."""
        (self.out / FILE).write_text("\n\n".join([*self.parts, ""]), encoding="utf-8")


def questions(lab: "Lab") -> dict[str, str]:
    """Letter -> question, of the lesson's docstring."""
    lesson = sys.modules[lab.train.__module__].__doc__ or ""
    _, _, report = lesson.partition("\nReport\n")
    section = re.split(r"\n(?=\S)", report)[0]
    found = re.findall(r"^    \((\w)\)  (.+(?:\n {9}.+)*)", section, re.MULTILINE)
    return {letter: " ".join(question.split()) for letter, question in found}


def _best(lab: "Lab", folder: Path) -> str:
    """Which of the run's epochs has the best validation metric, as a paragraph."""
    name, goal = lab.metric.name, lab.metric.goal
    logged = [(event["step"], event["metrics"].get(f"val/{name}", math.nan)) for event in events.read(folder)]
    finite = [(value, step) for step, value in logged if math.isfinite(value)]
    if not finite:
        return "All numbers and figures are of this run."
    value, step = (min if goal == "min" else max)(finite, key=lambda pair: pair[0])
    return (
        f"All numbers and figures are of this run. Its best `val/{name}` is {_rounded(value)} "
        f"({'lower' if goal == 'min' else 'higher'} is better), in epoch {step} of {logged[-1][0]}; "
        f"at the end it is {_rounded(finite[-1][0])}."
    )


def _rounded(cell: Cell) -> Cell:
    """A number with at most four decimals, or four digits where it is small."""
    if not isinstance(cell, float) or not math.isfinite(cell):
        return cell
    return round(cell, 4) if abs(cell) >= 0.1 or cell == 0 else float(f"{cell:.4g}")


def _escaped(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|")
