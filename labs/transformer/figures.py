"""Figures for the report: similarity of the position encodings, and gradient norms with clipping."""

import json
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from labs.transformer.networks import position_encodings

COUNT = 1026
"""Positions of the course's figure."""


def write(out: Path, norms: Path, clip: float, d_model: int | None) -> None:
    """Write `gradient_norm.png`, from a file of gradient norms, and where `d_model` is given `positions.png`."""
    plot_norms(json.loads(norms.read_text()), clip).savefig(out / "gradient_norm.png", dpi=100, bbox_inches="tight")
    if d_model is not None:
        plot_positions(d_model).savefig(out / "positions.png", dpi=100, bbox_inches="tight")


def plot_positions(d_model: int) -> Figure:
    """Cosine similarity of each pair of position encodings, a (COUNT, COUNT) map: near positions are similar."""
    encodings = F.normalize(position_encodings(COUNT, d_model), dim=1)
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    image = axes.imshow((encodings @ encodings.T).numpy(), vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set(xlabel="position", ylabel="position", title=f"cosine similarity of encodings with {d_model} channels")
    figure.colorbar(image)
    return figure


def plot_norms(norms: list[float], clip: float) -> Figure:
    """Gradient norm of each step before clipping; the two largest norms that were clipped are marked."""
    figure = Figure(figsize=(8, 4.5))
    axes = figure.subplots()
    axes.plot(norms, linewidth=0.7)
    axes.axhline(clip, color="black", linestyle="--", label=f"clipped to {clip:g}")
    for step in torch.tensor(norms).topk(min(2, len(norms))).indices.tolist():
        if norms[step] > clip:
            axes.annotate(f"step {step}: {norms[step]:.2f}", (step, norms[step]), (10, 0), textcoords="offset points")
            axes.plot(step, norms[step], "rv")
    axes.set(xlabel="step", ylabel="norm of the gradient", yscale="log")
    axes.legend()
    return figure
