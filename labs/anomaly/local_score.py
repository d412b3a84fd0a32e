"""A score by place: where a picture differs from its reconstruction more than normal pictures do there.

After PaDiM (Defard et al., arXiv:2011.08785), which models the features of normal pictures with a Gaussian at each
place.
"""

import torch
from torch import nn
from torch.nn import functional as F

WINDOWS = 15
"""Windows in a row and in a column: a window's side is an eighth of the picture's, and neighbours overlap by half."""
FLOOR = 1e-4
"""Added to squared differences before the logarithm, so that invisibly small ones do not become outliers."""
MIN_STD = 0.1
"""Smallest standard deviation: in a place where the few pictures happen to agree, a small difference would be
many standard deviations large."""


def local_differences(difference: torch.Tensor) -> torch.Tensor:
    """Logarithms of the squared difference in each window.

    The difference is averaged over the window before it is squared: where a line is drawn slightly beside its place,
    positive and negative differences cancel, while the difference of a covered or miscoloured part remains.

    Args:
        difference: of pictures or feature maps, (B, C, S, S).

    Returns:
        (B, 15, 15).
    """
    window = difference.shape[-1] // 8
    averages = F.avg_pool2d(difference, window, window // 2)
    return (averages.square().mean(1) + FLOOR).log()


class LocalScore(nn.Module):
    """Standardises local differences with the statistics of normal pictures; a picture's score is its largest one."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(maps, WINDOWS, WINDOWS))
        self.register_buffer("std", torch.ones(maps, WINDOWS, WINDOWS))

    def fit(self, normal: torch.Tensor) -> None:
        """Take the mean and the standard deviation of each window from maps (N, M, 15, 15) of normal pictures."""
        self.mean.copy_(normal.mean(0))
        self.std.copy_(normal.std(0, correction=0).clamp(min=MIN_STD))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, M, 15, 15) -> (B,): the largest standard score, z = (d - mean) / std, of each map, added up."""
        return ((maps - self.mean) / self.std).flatten(2).amax(2).sum(1)
