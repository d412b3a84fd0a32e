"""The few-shot lab's network: four convolutional blocks whose batch normalisation keeps no running statistics."""

import torch
from torch import nn
from torch.nn import functional as F


class StatelessBatchNorm(nn.Module):
    """Batch normalisation by the statistics of the batch itself, in training and evaluation alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor, references: int | None = None) -> torch.Tensor:
        """(B, C, H, W) -> the same shape.

        Args:
            references: number of leading images whose mean and variance normalise all of them; None for all.
        """
        # Written out, because torch 2.14's second derivatives of `F.batch_norm` under vmap are wrong by some percent.
        variance, mean = torch.var_mean(x[:references], (0, 2, 3), correction=0, keepdim=True)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + 1e-5)
        return (x - mean) * scale + self.bias[:, None, None]


class ConvNet(nn.Module):
    """The sample's four blocks of convolution, batch normalisation, ReLU and max-pooling, then a linear layer.

    Input (B, 28, 28) with values 0 to 255 of any type, output (B, outputs) logits; with `outputs=0` there is no linear
    layer and the output is the embedding (B, width).
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        channels = [1, width, width, width]
        self.convolutions = nn.ModuleList([nn.Conv2d(c, width, 3, padding=1) for c in channels])
        self.norms = nn.ModuleList([StatelessBatchNorm(width) for _ in channels])
        self.head = nn.Linear(width, outputs) if outputs else nn.Identity()

    def forward(self, images: torch.Tensor, references: int | None = None) -> torch.Tensor:
        """`references` as in `StatelessBatchNorm`."""
        x = images[:, None].to(next(self.parameters()).dtype) / 255
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Max-pooling and ReLU commute; in this order the ReLU has a quarter of the values.
            x = F.relu(F.max_pool2d(norm(convolution(x), references), 2))
        output: torch.Tensor = self.head(x.flatten(1))
        return output
