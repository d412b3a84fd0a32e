"""The figure of the regression lab's report."""

import torch
from matplotlib.figure import Figure

from labs.core.plots import styled


@styled
def predicted_against_true(predicted: torch.Tensor, true: torch.Tensor) -> Figure:
    """Predicted against true percentages of positive tests of held-out rows, both (N,); on the diagonal they agree."""
    figure = Figure(figsize=(6, 5.5))
    title = f"{len(true):,} held-out rows; on the dashed line the prediction is true"
    axes = figure.add_subplot(aspect="equal", title=title)
    axes.scatter(true, predicted, s=8, alpha=0.5, linewidths=0)
    low, high = min(true.min(), predicted.min()).item(), max(true.max(), predicted.max()).item()
    axes.plot([low, high], [low, high], color="black", linewidth=1, linestyle="--")
    axes.set(xlabel="true positive tests, %", ylabel="predicted positive tests, %")
    return figure
