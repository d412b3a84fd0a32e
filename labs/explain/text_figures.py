"""Figures of homework 9's second half: attention, embeddings layer by layer, likeness of one character's embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn import functional as F

from labs.explain.figures import write_table
from labs.explain.hidden_state_file import ANSWER, Reading, Readings

KINDS, COLOURS = ("question", "context", "answer"), ("tab:blue", "lightgrey", "tab:red")
FONTS = ("Noto Sans CJK TC", "Noto Sans CJK JP", "Microsoft JhengHei", "PingFang TC", "WenQuanYi Zen Hei")
"""Fonts with Chinese; matplotlib brings none. Where none is installed, figures have numbers in place of texts."""


def write_readings(out: Path, readings: Readings, texts: dict[str, Any]) -> None:
    """Write `attention.png`, `embeddings.png`, `similarity.png`, and what they show in numbers as `layers.csv`, see
    `table`."""
    from matplotlib.font_manager import fontManager

    found = [font for font in FONTS if font in {entry.name for entry in fontManager.ttflist}]
    with matplotlib.rc_context({"font.family": [*found, "sans-serif"]}):
        for name, figure in {
            "attention": attention(readings.questions[0]),
            "embeddings": embeddings(readings.questions, legible=bool(found)),
            "similarity": similarity(readings.character, texts["sentences"], legible=bool(found)),
        }.items():
            figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")
    write_table(out / "layers.csv", table(readings, [sentence["meaning"] for sentence in texts["sentences"]]))


def attention(reading: Reading) -> Figure:
    """How much each token, a row, looks at each other one: a panel for each layer and head."""
    layers, heads = reading.attention.shape[:2]
    figure = Figure(figsize=(2 * heads, 2 * layers))
    for (layer, head), axes in _grid(figure, layers, heads):
        axes.imshow(reading.attention[layer, head].sqrt().numpy(), cmap="inferno", vmin=0, vmax=1)
        axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
        ends = [place for place, (kind, after) in enumerate(zip(reading.kinds, reading.kinds[1:], strict=False))
                if kind != after]  # fmt: skip
        for end in ends:
            axes.axvline(end + 0.5, color="white", linewidth=0.3)
            axes.axhline(end + 0.5, color="white", linewidth=0.3)
    return figure


def embeddings(questions: Sequence[Reading], legible: bool) -> Figure:
    """The tokens' embeddings in the plane of their two principal components: a row a question, a column a layer. The
    answer's tokens are named, or numbered by their place."""
    layers = len(questions[0].hidden)
    figure = Figure(figsize=(2.2 * layers, 2.2 * len(questions)))
    for (row, layer), axes in _grid(figure, len(questions), layers):
        reading = questions[row]
        x, y = principal(reading.hidden[layer]).T.numpy()
        for kind, (name, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
            mask = (reading.kinds == kind).numpy()
            axes.scatter(x[mask], y[mask], s=8, color=colour, label=name)
        for place in (reading.kinds == ANSWER).nonzero().flatten().tolist():
            axes.annotate(reading.tokens[place] if legible else str(place), (x[place], y[place]), fontsize=7)
        axes.set_title(f"layer {layer}" if layer else "input", fontsize=8)
    figure.axes[0].legend(fontsize=6)
    return figure


def similarity(character: torch.Tensor, sentences: Sequence[dict[str, Any]], legible: bool) -> Figure:
    """Likeness of the character in each two sentences, by cosine and by distance, in the first and the last layer. The
    sentences are sorted by meaning, and named by their text, or by their number in the file.

    Args:
        character: (sentences, layers + 1, channels).
    """
    told = sorted(enumerate(sentences), key=lambda pair: pair[1]["meaning"])
    order = [number for number, _ in told]
    names = [f"{part['text'] if legible else number}, {part['meaning']}" for number, part in told]
    figure = Figure(figsize=(12, 10))
    last = character.shape[1] - 1
    for (row, column), axes in _grid(figure, 2, 2):
        layer = (1, last)[row]
        vectors = character[order, layer]
        values, name = (cosine(vectors), "cosine") if column == 0 else (torch.cdist(vectors, vectors), "distance")
        shown = axes.imshow(values.numpy(), cmap="viridis" if column == 0 else "viridis_r")
        axes.set_title(f"layer {layer}, {name}", fontsize=9)
        if column == 0:
            axes.set_yticks(range(len(names)), names, fontsize=8)
        figure.colorbar(shown, ax=axes, shrink=0.7)
    return figure


def table(readings: Readings, meanings: Sequence[str]) -> list[dict[str, float]]:
    """A row a layer, 0 for what goes into the first one.

    layer       its number.
    to_answer   share of the question's attention that goes to the answer, the most of all heads, mean over questions;
                0 for layer 0, and for questions without an answer.
    apart       silhouette of the kinds of tokens, -1 to 1: whether question, context and answer lie apart.
    meaning     mean cosine of the character's embeddings in sentences of one meaning, less that across meanings.
    """
    from sklearn.metrics import silhouette_score

    same = torch.tensor([[a == b for b in meanings] for a in meanings])
    off = ~torch.eye(len(meanings), dtype=torch.bool)
    rows = []
    for layer in range(readings.character.shape[1]):
        alike = cosine(readings.character[:, layer])
        apart = [silhouette_score(part.hidden[layer].numpy(), part.kinds.numpy()) for part in readings.questions]
        rows.append(
            {
                "layer": layer,
                "to_answer": _mean([_to_answer(part, layer) for part in readings.questions]),
                "apart": _mean(apart),
                "meaning": float(alike[same & off].mean() - alike[~same].mean()),
            }
        )
    return rows


def _to_answer(reading: Reading, layer: int) -> float:
    if layer == 0:
        return 0.0
    between = reading.attention[layer - 1][:, reading.kinds == 0][:, :, reading.kinds == ANSWER]
    return float(between.sum(2).mean(1).max())


def principal(vectors: torch.Tensor) -> torch.Tensor:
    """(N, channels) -> (N, 2), their first two principal components."""
    from sklearn.decomposition import PCA

    return torch.from_numpy(PCA(2, random_state=0).fit_transform(vectors.numpy()))


def cosine(vectors: torch.Tensor) -> torch.Tensor:
    """(N, channels) -> (N, N)."""
    return F.cosine_similarity(vectors[:, None], vectors[None], dim=2)


def _mean(values: Sequence[float]) -> float:
    return float(sum(values) / len(values))


def _grid(figure: Figure, rows: int, columns: int) -> list[tuple[tuple[int, int], Axes]]:
    """Panels without ticks, with their places."""
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return [((row, column), panels[row, column]) for row in range(rows) for column in range(columns)]
