"""Answers from a paragraph: `labs predict bert QUESTION... PARAGRAPH`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from labs.core.demo import Demo, Row, Trained
from labs.core.errors import BadInput
from labs.core.text_file import read_text


def rows(trained: Trained, inputs: Sequence[str]) -> list[Row]:
    *questions, last = inputs
    if not questions:
        raise BadInput("one input: expected one or more questions and then their paragraph, or a text file with it")
    paragraph = read_text(Path(last), "paragraph") if last.endswith(".txt") else last
    answers = trained.predict(np.array([[question, paragraph] for question in questions])).tolist()
    return [{"question": question, "answer": answer} for question, answer in zip(questions, answers, strict=True)]


DEMO = Demo("questions in Chinese and then their paragraph, or a .txt file with it", rows)
