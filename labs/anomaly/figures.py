"""Figures of the anomaly lab's report questions."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from labs.anomaly.autoencoder import Autoencoder
from labs.anomaly.pictures import network_input
from labs.core import shards
from labs.core.plots import styled

CHANGES = (("first element\ndoubled", 0, 2), ("second element\ndoubled", 1, 2), ("first element\nnegated", 0, -1))
"""Name, element of the latent code, and the factor that it is multiplied by."""


def draw(model: Autoencoder, images: shards.Column, scores: np.ndarray, normal: shards.Column) -> dict[str, Figure]:
    """The figures of the report by name.

    Args:
        model: the trained autoencoder.
        images: test pictures (N, 64, 64, 3) uint8.
        scores: their anomaly scores (N,).
        normal: training pictures (M, 64, 64, 3) uint8.

    Returns:
        `latent`, normal faces decoded from changed latent codes; `reconstructions` of test pictures; `extremes`, the
        test pictures with the lowest and the highest scores.
    """
    order = torch.from_numpy(scores.argsort(kind="stable"))
    count = min(8, len(images) // 2)
    lowest, highest = images[order[:count]], images[order[-count:]]
    return {
        "latent": grid(
            "Training faces, decoded from their latent codes with one element changed",
            changed_code_rows(model, normal[torch.arange(count)]),
        ),
        "reconstructions": grid("The first test pictures", reconstruction_rows(model, images[torch.arange(count)])),
        "extremes": grid(
            "Test pictures with the lowest and the highest anomaly scores",
            {**reconstruction_rows(model, lowest, "lowest:\n"), **reconstruction_rows(model, highest, "highest:\n")},
            [f"{scores[index]:.4g}" for index in order[:count]] + [f"{scores[index]:.4g}" for index in order[-count:]],
        ),
    }


@styled
def grid(title: str, rows: Mapping[str, np.ndarray], scores: Sequence[str] = ()) -> Figure:
    """Rows of pictures, each with its name on the left.

    Args:
        title: of the figure.
        rows: name -> pictures (n, H, W, 3), 0 to 1; the same number in each row.
        scores: captions of the pictures of every other row, in turn; none for no captions.
    """
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * columns + 1.5, 1.25 * len(rows) + 0.6))
    figure.suptitle(title)
    panels = figure.subplots(len(rows), columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for line, (name, pictures) in zip(panels, rows.items(), strict=True):
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture)
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, score in zip(panels[::2].flat, scores, strict=False):
        axes.set_title(score, fontsize=10)
    return figure


def reconstruction_rows(model: Autoencoder, images: torch.Tensor, prefix: str = "") -> dict[str, np.ndarray]:
    """Rows for `grid`: pictures (n, 64, 64, 3) uint8 and their reconstructions; `prefix` begins the rows' names."""
    pictures = network_input(images).to(next(model.parameters()).device)
    with torch.no_grad():
        return {
            f"{prefix}original": _displayed(pictures),
            f"{prefix}reconstruction": _displayed(model(pictures).reconstruction),
        }


def changed_code_rows(model: Autoencoder, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Rows for `grid` that answer the report's second question: pictures (n, 64, 64, 3) uint8, their reconstructions,
    and pictures decoded from their latent codes with one element changed."""
    rows = reconstruction_rows(model, images)
    with torch.no_grad():
        code, _ = model.encode(network_input(images).to(next(model.parameters()).device))
        for name, element, factor in CHANGES:
            changed = code.clone()
            changed[:, element] *= factor
            rows[name] = _displayed(model.decoder(changed))
    return rows


def _displayed(pictures: torch.Tensor) -> np.ndarray:
    """(n, 3, H, W), -1 to 1 -> (n, H, W, 3), 0 to 1, as matplotlib displays them."""
    displayed: np.ndarray = ((pictures.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return displayed
