"""Figures of homework 9's second half: attention, hidden states by layer, and those of an ambiguous character."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch.nn import functional as F

from labs.core.plots import CHINESE, COLOURS, legend_beside, styled
from labs.explain.hidden_state_file import ANSWER, QUESTION, QuestionStates, TextStates

SEGMENTS = ("question", "context", "answer")
"""Names of the segments, by number."""
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": COLOURS[0], "marker": "o"},
    {"color": "0.75", "marker": "."},
    {"color": COLOURS[1], "marker": "D"},
)
"""Colour and marker of each segment's tokens."""
AROUND = 12
"""Tokens on either side of the answer in the figure of single tokens."""


def text_figures(states: TextStates, texts: dict[str, Any]) -> dict[str, Figure]:
    """The figures `attention`, `attention_tokens`, `embeddings` and `similarity`.

    Args:
        texts: content of `labs.explain.texts`'s file.
    """
    legible = bool(CHINESE)
    return {
        "attention": attention(states.questions[0]),
        "attention_tokens": attention_tokens(states.questions[0], legible=legible),
        "embeddings": embeddings(states.questions, legible=legible),
        "similarity": similarity(states.character, texts["sentences"], legible=legible),
    }


@styled
def attention(question: QuestionStates) -> Figure:
    """Attention weights, a panel for each layer and head: each token, a row, attends to the tokens in the columns."""
    layers, heads = question.attentions.shape[:2]
    parts = segment_parts(question.segments.tolist())
    middles, names = [(first + last) / 2 for first, last, _ in parts], [SEGMENTS[segment] for *_, segment in parts]
    side = 2.4 if heads <= 4 else 1.6
    figure = Figure(figsize=(side * heads + 1.5, side * layers + 1))
    figure.suptitle("Attention of each token, a row, to the tokens of question 1 and its context, the columns")
    for (layer, head), axes in _panels(figure, layers, heads):
        weights = question.attentions[layer, head].numpy()
        shown = axes.imshow(weights, cmap="inferno", norm=PowerNorm(0.5, 0, 1))
        axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=9)
        for _, last, _ in parts[:-1]:
            axes.axvline(last + 0.5, color="white", linewidth=0.5)
            axes.axhline(last + 0.5, color="white", linewidth=0.5)
        if head == 0:
            axes.set_yticks(middles, names, fontsize=8)
        if layer == layers - 1:
            axes.set_xticks(middles, names, fontsize=8, rotation=90)
    figure.colorbar(shown, ax=figure.axes, label="attention weight", shrink=0.8)
    figure.supxlabel("token that is attended to")
    figure.supylabel("token that attends")
    return figure


def segment_parts(segments: Sequence[int]) -> list[tuple[int, int, int]]:
    """Runs of equal segments: first token, last token, segment."""
    parts, first = [], 0
    for segment, run in groupby(segments):
        length = len(list(run))
        parts.append((first, first + length - 1, segment))
        first += length
    return parts


@styled
def attention_tokens(question: QuestionStates, legible: bool) -> Figure:
    """Attention of each of the question's tokens to each token in and around the answer, in the head with the most of
    it. A token is labelled with its text, or with its number where that is not `legible`."""
    layer, head = answering_head(question)
    answer = (question.segments == ANSWER).nonzero().flatten()
    # Without an answer in the context, the context's beginning.
    shown = answer if len(answer) else (question.segments != QUESTION).nonzero().flatten()[:1]
    first, last = max(0, int(shown[0]) - AROUND), min(len(question.tokens), int(shown[-1]) + 1 + AROUND)
    rows, columns = (question.segments == QUESTION).nonzero().flatten().tolist(), list(range(first, last))
    figure = Figure(figsize=(0.27 * len(columns) + 2.5, 0.27 * len(rows) + 1.3))
    axes = figure.add_subplot(title=f"Layer {layer + 1}, head {head + 1}: tokens of question 1, and around the answer")
    image = axes.imshow(question.attentions[layer, head][rows][:, columns].numpy(), cmap="viridis", vmin=0)
    figure.colorbar(image, label="attention weight")
    for ticks, numbers in ((axes.set_xticks, columns), (axes.set_yticks, rows)):
        ticks(range(len(numbers)), [_label(question, number, legible) for number in numbers], fontsize=9)
    axes.tick_params("x", rotation=90)
    for token in answer.tolist():
        axes.get_xticklabels()[token - first].set(color=COLOURS[1], fontweight="bold")
    axes.set(xlabel="token that is attended to; the answer's in orange", ylabel="token that attends")
    return figure


def answering_head(question: QuestionStates) -> tuple[int, int]:
    """Layer and head, from 0, in which the question attends most to the answer."""
    is_question, is_answer = question.segments == QUESTION, question.segments == ANSWER
    weights = question.attentions[:, :, is_question][:, :, :, is_answer].sum((2, 3))
    return divmod(int(weights.argmax()), weights.shape[1])


def _label(question: QuestionStates, token: int, legible: bool) -> str:
    return question.tokens[token] if legible else str(token)


@styled
def embeddings(questions: Sequence[QuestionStates], legible: bool) -> Figure:
    """Hidden states of the tokens in the plane of their first two principal components: a row a question, a column a
    layer. Tokens of the answer are labelled with their text, or with their number where that is not `legible`."""
    layers = len(questions[0].hidden_states)
    figure = Figure(figsize=(2.6 * layers + 1.5, 2.6 * len(questions)))
    figure.suptitle("Hidden states of the tokens, first two principal components of each layer")
    for (row, layer), axes in _panels(figure, len(questions), layers):
        question = questions[row]
        x, y = principal_components(question.hidden_states[layer]).T.numpy()
        for segment, (name, look) in enumerate(zip(SEGMENTS, LOOKS, strict=True)):
            mask = (question.segments == segment).numpy()
            axes.scatter(x[mask], y[mask], s=16, label=name, **look)
        for token in (question.segments == ANSWER).nonzero().flatten().tolist():
            label = _label(question, token, legible)
            axes.annotate(label, (x[token], y[token]), (3, 3), textcoords="offset points", fontsize=8)
        axes.set_title(f"layer {layer}" if layer else "embeddings", fontsize=10)
        axes.set_xlabel("first component", fontsize=8)
        axes.set_ylabel(f"question {row + 1}\nsecond component" if layer == 0 else "second component", fontsize=8)
    legend_beside(figure.axes[layers - 1], "token of the")
    return figure


@styled
def similarity(character: torch.Tensor, sentences: Sequence[dict[str, Any]], legible: bool) -> Figure:
    """Cosine similarity and Euclidean distance of the character's hidden states in each two sentences, in the first and
    the last layer. Sentences are sorted by meaning, and labelled with their text or their index in the file.

    Args:
        character: (sentences, layers + 1, channels).
    """
    order = sorted(range(len(sentences)), key=lambda number: sentences[number]["meaning"])
    names = [f"{sentences[number]['text'] if legible else number}, {sentences[number]['meaning']}" for number in order]
    figure = Figure(figsize=(12, 9.5))
    figure.suptitle("The ambiguous character in each two sentences, sorted by its meaning")
    last = character.shape[1] - 1
    for (row, column), axes in _panels(figure, 2, 2):
        layer = (1, last)[row]
        vectors = character[order, layer]
        values = torch.cdist(vectors, vectors) if column else cosine(vectors)
        name = "Euclidean distance" if column else "cosine similarity"
        shown = axes.imshow(values.numpy(), cmap="viridis_r" if column else "viridis")
        axes.set_title(f"layer {layer}, {name}")
        axes.set_xticks(range(len(order)), [str(number) for number in order], fontsize=9)
        axes.set_yticks(range(len(names)), names if column == 0 else [str(number) for number in order], fontsize=9)
        axes.set(xlabel="sentence", ylabel="sentence, and what the character means" if column == 0 else "sentence")
        figure.colorbar(shown, ax=axes, shrink=0.8, label=name)
    return figure


def layer_table(states: TextStates, meanings: Sequence[str]) -> list[dict[str, float]]:
    """A row for each layer; layer 0 is the embeddings.

    layer                its number.
    attention_to_answer  fraction of the question's attention that goes to the answer, in the head with the most of it,
                         mean over the questions; 0 for layer 0 and for questions without an answer.
    silhouette           silhouette coefficient of the segments, -1 to 1: how well question, context and answer are
                         separated.
    meaning_gap          mean cosine similarity of the character between sentences of one meaning, minus that between
                         sentences of different meanings.
    """
    from sklearn.metrics import silhouette_score

    same_meaning = torch.tensor([[a == b for b in meanings] for a in meanings])
    different_sentences = ~torch.eye(len(meanings), dtype=torch.bool)
    rows = []
    for layer in range(states.character.shape[1]):
        cosines = cosine(states.character[:, layer])
        silhouettes = [silhouette_score(question.hidden_states[layer].numpy(), question.segments.numpy())
                       for question in states.questions]  # fmt: skip
        within = cosines[same_meaning & different_sentences].mean()
        rows.append(
            {
                "layer": layer,
                "attention_to_answer": _mean([_attention_to_answer(question, layer) for question in states.questions]),
                "silhouette": _mean(silhouettes),
                "meaning_gap": float(within - cosines[~same_meaning].mean()),
            }
        )
    return rows


def _attention_to_answer(question: QuestionStates, layer: int) -> float:
    if layer == 0:
        return 0.0
    is_question, is_answer = question.segments == QUESTION, question.segments == ANSWER
    weights = question.attentions[layer - 1][:, is_question][:, :, is_answer]
    return float(weights.sum(2).mean(1).max())


def principal_components(vectors: torch.Tensor) -> torch.Tensor:
    """(N, channels) -> (N, 2), their first two principal components."""
    from sklearn.decomposition import PCA

    return torch.from_numpy(PCA(2, random_state=0).fit_transform(vectors.numpy()))


def cosine(vectors: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of each two of N vectors: (N, channels) -> (N, N)."""
    return F.cosine_similarity(vectors[:, None], vectors[None], dim=2)


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))


def _panels(figure: Figure, rows: int, columns: int) -> list[tuple[tuple[int, int], Axes]]:
    """Panels without ticks, each with its row and column."""
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return [((row, column), panels[row, column]) for row in range(rows) for column in range(columns)]
