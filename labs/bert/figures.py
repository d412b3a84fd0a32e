"""The rules of the span search at several strides, compared for homework 7's report."""

from dataclasses import replace
from typing import NamedTuple

from matplotlib.figure import Figure

from labs.bert.data import Split
from labs.bert.metrics import character_f1, exact_match
from labs.core.plots import legend_beside, styled
from labs.shared.text.answering import predict_answers
from labs.shared.text.reader import Reader, Search

QUESTIONS = 300
"""Maximum number of validation questions behind the table of rules."""
NAMES: dict[Search, str] = {"separate": "best start and best end separately", "joint": "best valid span"}


class Row(NamedTuple):
    """Scores of a search rule at a stride, on validation questions."""

    search: str
    doc_stride: int
    exact_match: float
    f1: float


def compare(reader: Reader, dev: Split) -> list[Row]:
    """Exact match and F1 of each search rule at each of three strides, on the first `QUESTIONS` questions of `dev`."""
    rows, window = [], reader.settings.paragraph_tokens
    questions, answers = dev.questions[:QUESTIONS], dev.answers()[:QUESTIONS]
    for stride in (window, max(1, window // 2), max(1, window // 4)):
        for search in NAMES:
            reader.settings = replace(reader.settings, doc_stride=stride, search=search)
            predictions = predict_answers(reader, questions, dev.paragraphs)
            rows.append(Row(search, stride, exact_match(predictions, answers), character_f1(predictions, answers)))
    return rows


@styled
def plot_rules(rows: list[Row]) -> Figure:
    """Exact match against the stride, one line for each search rule."""
    figure = Figure(figsize=(9, 4))
    axes = figure.subplots()
    for (search, name), style in zip(NAMES.items(), ("o-", "s--"), strict=True):
        points = [row for row in rows if row.search == search]
        axes.plot([row.doc_stride for row in points], [row.exact_match for row in points], style, label=name)
    axes.set(xlabel="stride between windows, tokens", ylabel="exact match", title="Validation questions")
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({row.doc_stride for row in rows}))
    legend_beside(axes, "span")
    return figure
