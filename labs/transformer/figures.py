"""Figures for the report: similarity of the position encodings, and gradient norms with clipping."""

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from labs.core.plots import COLOURS, legend_beside, logarithmic, styled, whole_numbers
from labs.transformer.networks import position_encodings

COUNT = 1026
"""Positions of the course's figure."""


def similarities(d_model: int) -> torch.Tensor:
    """Cosine similarity of each pair of position encodings, (COUNT, COUNT)."""
    encodings = F.normalize(position_encodings(COUNT, d_model), dim=1)
    return encodings @ encodings.T


@styled
def plot_positions(similarity: torch.Tensor, d_model: int) -> Figure:
    """The map of `similarities`: near positions are similar."""
    figure = Figure(figsize=(7, 5.8))
    axes = figure.subplots()
    image = axes.imshow(similarity.numpy(), vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set(xlabel="position", ylabel="position", title=f"Position encodings with {d_model} channels")
    figure.colorbar(image, label="cosine similarity")
    return figure


@styled
def plot_norms(norms: list[float], clip: float, marked: list[int]) -> Figure:
    """Gradient norm of each step before clipping; some steps, counted from 1, are marked."""
    figure = Figure(figsize=(9, 4.5))
    axes = figure.subplots()
    axes.plot(range(1, 1 + len(norms)), norms, linewidth=0.8, label="before clipping")
    axes.axhline(clip, color="black", linestyle="--", linewidth=1, label=f"clipped to {clip:g}")
    for step in marked:
        axes.plot(step, norms[step - 1], "v", color=COLOURS[1], label=f"step {step}: {norms[step - 1]:.2f}")
    axes.set(xlabel="step", ylabel="norm of the gradient", title="Gradient clipping")
    logarithmic(axes)
    whole_numbers(axes)
    legend_beside(axes)
    return figure
