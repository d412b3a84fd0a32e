"""Figures of homework 9's second half: attention, hidden states by layer, and those of an ambiguous character."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from labs.explain.figures import write_table
from labs.explain.hidden_state_file import ANSWER, QUESTION, QuestionStates, TextStates

SEGMENTS, COLOURS = ("question", "context", "answer"), ("tab:blue", "lightgrey", "tab:red")
FONTS = ("Noto Sans CJK TC", "Noto Sans CJK JP", "Microsoft JhengHei", "PingFang TC", "WenQuanYi Zen Hei")
"""Fonts with Chinese characters, of which matplotlib includes none. Without any, figures have numbers for texts."""


def write_text_figures(out: Path, states: TextStates, texts: dict[str, Any]) -> None:
    """Write `attention.png`, `embeddings.png`, `similarity.png`, and `layers.csv` (see `layer_table`).

    Args:
        texts: content of `labs.explain.texts`'s file.
    """
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    fonts = [font for font in FONTS if font in installed]
    with matplotlib.rc_context({"font.family": [*fonts, "sans-serif"]}):
        for name, figure in {
            "attention": attention(states.questions[0]),
            "embeddings": embeddings(states.questions, legible=bool(fonts)),
            "similarity": similarity(states.character, texts["sentences"], legible=bool(fonts)),
        }.items():
            figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")
    write_table(out / "layers.csv", layer_table(states, [sentence["meaning"] for sentence in texts["sentences"]]))


def attention(question: QuestionStates) -> Figure:
    """Attention weights, a panel for each layer and head: each token, a row, attends to the tokens in the columns."""
    layers, heads = question.attentions.shape[:2]
    segments = question.segments.tolist()
    boundaries = [token + 0.5 for token in range(len(segments) - 1) if segments[token] != segments[token + 1]]
    figure = Figure(figsize=(2 * heads, 2 * layers))
    for (layer, head), axes in _panels(figure, layers, heads):
        axes.imshow(question.attentions[layer, head].sqrt().numpy(), cmap="inferno", vmin=0, vmax=1)
        axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
        for boundary in boundaries:
            axes.axvline(boundary, color="white", linewidth=0.3)
            axes.axhline(boundary, color="white", linewidth=0.3)
    return figure


def embeddings(questions: Sequence[QuestionStates], legible: bool) -> Figure:
    """Hidden states of the tokens in the plane of their first two principal components: a row a question, a column a
    layer.

    Tokens of the answer are labelled with their text, or with their index where it is not `legible`.
    """
    layers = len(questions[0].hidden_states)
    figure = Figure(figsize=(2.2 * layers, 2.2 * len(questions)))
    for (row, layer), axes in _panels(figure, len(questions), layers):
        question = questions[row]
        x, y = principal_components(question.hidden_states[layer]).T.numpy()
        for segment, (name, colour) in enumerate(zip(SEGMENTS, COLOURS, strict=True)):
            mask = (question.segments == segment).numpy()
            axes.scatter(x[mask], y[mask], s=8, color=colour, label=name)
        for token in (question.segments == ANSWER).nonzero().flatten().tolist():
            axes.annotate(question.tokens[token] if legible else str(token), (x[token], y[token]), fontsize=7)
        axes.set_title(f"layer {layer}" if layer else "input", fontsize=8)
    figure.axes[0].legend(fontsize=6)
    return figure


def similarity(character: torch.Tensor, sentences: Sequence[dict[str, Any]], legible: bool) -> Figure:
    """Cosine similarity and Euclidean distance of the character's hidden states in each two sentences, in the first and
    the last layer. Sentences are sorted by meaning, and labelled with their text or their index in the file.

    Args:
        character: (sentences, layers + 1, channels).
    """
    order = sorted(range(len(sentences)), key=lambda number: sentences[number]["meaning"])
    names = [f"{sentences[number]['text'] if legible else number}, {sentences[number]['meaning']}" for number in order]
    figure = Figure(figsize=(12, 10))
    last = character.shape[1] - 1
    for (row, column), axes in _panels(figure, 2, 2):
        layer = (1, last)[row]
        vectors = character[order, layer]
        if column == 0:
            shown = axes.imshow(cosine(vectors).numpy(), cmap="viridis")
            axes.set_title(f"layer {layer}, cosine", fontsize=9)
            axes.set_yticks(range(len(names)), names, fontsize=8)
        else:
            shown = axes.imshow(torch.cdist(vectors, vectors).numpy(), cmap="viridis_r")
            axes.set_title(f"layer {layer}, distance", fontsize=9)
        figure.colorbar(shown, ax=axes, shrink=0.7)
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
