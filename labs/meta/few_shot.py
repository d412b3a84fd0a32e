"""The few-shot lab's network, whose batch normalisation keeps no running statistics; prototypes; tasks in batches."""

from collections.abc import Callable

import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

VMAP_WIDTH = 32
"""Widest network whose tasks a CPU does faster all at once than one after the other: in half the time at 16 channels.
From 32 to 64 neither is clearly ahead."""


class TaskNorm(nn.Module):
    """Batch normalisation by the statistics of the batch itself, or of its first images alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, counted: int | None = None) -> torch.Tensor:
        """(B, C, H, W) -> the same shape; `counted`: how many leading images the statistics are of, None for all."""
        # Written out, as torch 2.14 differentiates `F.batch_norm` wrongly the second time under vmap: by some percent.
        variance, mean = torch.var_mean(x[:counted], (0, 2, 3), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + 1e-5)
        return (x - mean) * scale + self.bias[:, None, None]


class ConvNet(nn.Module):
    """The sample's four blocks of convolution, normalisation, ReLU and max-pooling, then a linear layer.

    Input (B, 28, 28) with values 0 to 255 of any type, output (B, outputs) logits; with `outputs=0` there is no linear
    layer and the output is the embedding (B, width).
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        channels = [1, width, width, width]
        self.convolutions = nn.ModuleList([nn.Conv2d(c, width, 3, padding=1) for c in channels])
        self.norms = nn.ModuleList([TaskNorm(width) for _ in channels])
        self.head = nn.Linear(width, outputs) if outputs else nn.Identity()

    def forward(self, images: torch.Tensor, counted: int | None = None) -> torch.Tensor:
        """`counted` as in `TaskNorm`."""
        x = images[:, None].to(next(self.parameters()).dtype) / 255
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Pooled before the ReLU: the same numbers, from a quarter of the pixels.
            x = F.relu(F.max_pool2d(norm(convolution(x), counted), 2))
        output: torch.Tensor = self.head(x.flatten(1))
        return output


def prototype_logits(support: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """Minus the squared distance of each query's embedding (..., Q, D) to each class's (N, D): (..., Q, N).

    With one support image a class its embedding is the prototype (Snell et al., eq. 1 and 2).
    """
    return -(query[..., None, :] - support).square().sum(-1)


def over_tasks(function: Callable[..., torch.Tensor], batching: str, width: int, *tasks: torch.Tensor) -> torch.Tensor:
    """What `function` gives for each task (a slice of each tensor), stacked.

    Args:
        batching: `vmap` for all tasks at once, `loop` for one after the other, `auto` for the faster of the two; the
            numbers are the same.
        width: channels of the network, which `auto` goes by.
    """
    if batching == "vmap" or (batching == "auto" and (tasks[0].is_cuda or width <= VMAP_WIDTH)):
        return vmap(function)(*tasks)
    return torch.stack([function(*task) for task in zip(*tasks, strict=True)])
