"""Figures of the transformer lab's report questions: what positions look like, and where clipping acts."""

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from labs.transformer.networks import positions

COUNT = 1026
"""Positions that the course's map shows."""


def plot_positions(d_model: int) -> Figure:
    """Cosine similarity of each pair of the decoder's positions, a (COUNT, COUNT) map: near places are alike."""
    table = F.normalize(positions(COUNT, d_model), dim=1)
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    image = axes.imshow((table @ table.T).numpy(), vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set(xlabel="position", ylabel="position", title=f"cosine similarity of {d_model} sines and cosines")
    figure.colorbar(image)
    return figure


def plot_norms(norms: list[float], clip: float) -> Figure:
    """Norm of the gradient at each step before it is clipped, with the two steps marked where clipping took most."""
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
