"""Figures of the anomaly lab's report questions."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure

from labs.anomaly.autoencoder import Autoencoder
from labs.anomaly.pictures import network_input
from labs.core import shards


def report(model: Autoencoder, images: shards.Column, scores: np.ndarray, normal: shards.Column) -> dict[str, Figure]:
    """The figures of the report's questions by name.

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
        "latent": grid(changed_code_rows(model, normal[torch.arange(count)])),
        "reconstructions": grid(reconstruction_rows(model, images[torch.arange(count)])),
        "extremes": grid(
            {**reconstruction_rows(model, lowest, "lowest "), **reconstruction_rows(model, highest, "highest ")}
        ),
    }


def grid(rows: Mapping[str, np.ndarray]) -> Figure:
    """Rows of pictures, each with its name on the left.

    Args:
        rows: name -> pictures (n, H, W, 3), 0 to 1; the same number in each row.
    """
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * columns + 1.5, 1.25 * len(rows) + 0.4))
    for row, (name, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
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
        for name, element, factor in (("first doubled", 0, 2), ("second doubled", 1, 2), ("first negated", 0, -1)):
            changed = code.clone()
            changed[:, element] *= factor
            rows[name] = _displayed(model.decoder(changed))
    return rows


def _displayed(pictures: torch.Tensor) -> np.ndarray:
    """(n, 3, H, W), -1 to 1 -> (n, H, W, 3), 0 to 1, as matplotlib displays them."""
    displayed: np.ndarray = ((pictures.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return displayed
