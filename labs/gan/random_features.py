"""Features of a convolutional network that was never trained: enough to compare heaps of pictures by.

Validation may use no label and no network from outside. Random features rank generators much like learnt ones (Naeem
et al., arXiv:2002.09797, section 4).
"""

import math
from collections.abc import Iterable
from itertools import chain, pairwise

import torch
from torch import nn
from torch.nn import functional as F

from labs.core.run import Run
from labs.gan.frechet import frechet_distance

CHANNELS = (3, 24, 24, 24)
SIDE = 32


class RandomFeatures(nn.Module):
    """Means of three layers' channels, at 2 x 2 places of the last; the weights are always the same."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for number, (inside, out) in enumerate(pairwise(CHANNELS)):
            weight = torch.randn(out, inside, 3, 3, generator=generator) * (2 / (9 * inside)) ** 0.5
            self.register_buffer(f"weight_{number}", weight)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side), -1 to 1, a side of at least 32 -> (B, 144)."""
        x = F.avg_pool2d(pictures.clamp(-1, 1), pictures.shape[-1] // SIDE)
        means = []
        for number in range(len(CHANNELS) - 1):
            x = F.relu(F.conv2d(x, self.get_buffer(f"weight_{number}"), stride=2, padding=1))
            means.append(F.adaptive_avg_pool2d(x, 2 if number == len(CHANNELS) - 2 else 1).flatten(1))
        return torch.cat(means, 1)


def compare(real: Iterable[torch.Tensor], fake: Iterable[torch.Tensor], run: Run) -> tuple[float, float]:
    """Fréchet distance of real and generated pictures, and how much the latter vary, as a share of what real ones do.

    Args:
        real, fake: this worker's batches (B, 3, side, side), -1 to 1: every N-th picture of N workers.
    """
    extractor = RandomFeatures().to(run.device)
    none = torch.empty(0, 3, 32, 32, device=run.device)  # of few pictures a worker may have none
    own = (torch.cat([extractor(pictures).cpu() for pictures in chain([none], part)]) for part in (real, fake))
    true, generated = (_joined(features, run) for features in own)
    if not generated.isfinite().all():
        return math.nan, 0.0
    return frechet_distance(true, generated), float(generated.std(0).mean() / true.std(0).mean())


def _joined(own: torch.Tensor, run: Run) -> torch.Tensor:
    """All workers' rows in the order in which one worker would have them."""
    parts = run.gather([own])
    joined = own.new_empty(sum(len(part) for part in parts), own.shape[1])
    for rank, part in enumerate(parts):
        joined[rank :: run.world_size] = part
    return joined
