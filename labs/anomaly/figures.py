"""Figures of the anomaly lab's report questions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.figure import Figure

from labs.anomaly.synthetic_anomalies import as_input
from labs.core import shards

if TYPE_CHECKING:
    from labs.anomaly.lesson import Detector


def report(model: "Detector", images: shards.Column, scores: np.ndarray, normal: shards.Column) -> dict[str, Figure]:
    """The report's figures by name: `latent` (codes of `normal` faces with two elements changed), `reconstructions` (of
    `images`), `extremes` (the `images` with the lowest and the highest `scores`)."""
    order = torch.from_numpy(scores.argsort(kind="stable"))
    few = min(8, len(images) // 2)
    lowest, highest = images[order[:few]], images[order[-few:]]
    return {
        "latent": grid(edits(model, normal[torch.arange(few)])),
        "reconstructions": grid(rebuilt(model, images[torch.arange(few)])),
        "extremes": grid({**rebuilt(model, lowest, "lowest "), **rebuilt(model, highest, "highest ")}),
    }


def grid(rows: Mapping[str, np.ndarray]) -> Figure:
    """Rows of pictures, each with its name at the left.

    Args:
        rows: name -> pictures (n, H, W, 3), 0 to 1; as many in each row.
    """
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * columns + 1.5, 1.25 * len(rows) + 0.4))
    for line, (name, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(len(rows), columns, line * columns + column + 1)
            axes.imshow(picture)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def rebuilt(model: "Detector", images: torch.Tensor, name: str = "") -> dict[str, np.ndarray]:
    """Rows for `grid`, whose names begin with `name`: pictures (n, 64, 64, 3) uint8 as they are and come out."""
    pictures = as_input(images).to(next(model.parameters()).device)
    with torch.no_grad():
        return {
            f"{name}original": _shown(pictures),
            f"{name}reconstruction": _shown(model.autoencoder(pictures).pictures),
        }


def edits(model: "Detector", images: torch.Tensor) -> dict[str, np.ndarray]:
    """Rows for `grid`: the same, and with elements of the code changed, of the report's second question."""
    rows = rebuilt(model, images)
    with torch.no_grad():
        code, _ = model.autoencoder.encode(as_input(images).to(next(model.parameters()).device))
        for name, element, factor in (("first doubled", 0, 2), ("second doubled", 1, 2), ("first negated", 0, -1)):
            changed = code.clone()
            changed[:, element] *= factor
            rows[name] = _shown(model.autoencoder.decoder(changed))
    return rows


def _shown(pictures: torch.Tensor) -> np.ndarray:
    shown: np.ndarray = ((pictures.float() + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return shown
