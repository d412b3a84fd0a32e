"""Where a picture and its reconstruction differ more than normal faces and theirs do."""

import torch
from torch import nn
from torch.nn import functional as F

PLACES = 15
"""Windows of a row and of a column: an eighth of the side wide, each overlapping half of the next."""
FLOOR = 1e-4
"""Added to energies, so that a difference too small to be seen has no far outlying logarithm."""


def energies(difference: torch.Tensor) -> torch.Tensor:
    """(B, C, S, S) -> (B, 15, 15): logarithms of how much is left of a difference that is averaged over each window.

    Averaged with its sign: where a line is drawn a little beside its place, the difference cancels out, while that of a
    covered or miscoloured part remains.
    """
    window = difference.shape[-1] // 8
    averages = F.avg_pool2d(difference, window, window // 2)
    return (averages.square().mean(1) + FLOOR).log()


class Usual(nn.Module):
    """What is usual at each place of normal faces, and how far from that a face is where it is farthest."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(maps, PLACES, PLACES))
        self.register_buffer("spread", torch.ones(maps, PLACES, PLACES))

    def fit(self, normal: torch.Tensor) -> None:
        """Take mean and standard deviation of each place from maps (N, M, 15, 15) of normal faces."""
        self.mean.copy_(normal.mean(0))
        # Where a handful of faces happens to agree, the next one would be far off by nothing.
        self.spread.copy_(normal.std(0, correction=0).clamp(min=0.1))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, M, 15, 15) -> (B,): each map's largest value in standard deviations, added."""
        return ((maps - self.mean) / self.spread).flatten(2).amax(2).sum(1)
