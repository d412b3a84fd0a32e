"""Features of a convolutional network with random weights, for comparing sets of pictures in validation.

Validation may use neither labels nor a pre-trained network. Fréchet distances on random features rank generators much
like those on learnt features (Naeem et al., arXiv:2002.09797, section 4).
"""

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from labs.core.run import Run
from labs.gan.frechet import frechet_distance

CHANNELS = (3, 24, 24, 24)
SIDE = 32
FEATURES = 144
"""24 means of each of the first two layers, and 4 x 24 of the last one."""


class RandomFeatures(nn.Module):
    """Three convolutions whose weights are random but always the same.

    The features are the means of the first two layers' channels and, of the last layer's, the means of its four
    quarters.
    """

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for number, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
            weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
            self.register_buffer(f"weight_{number}", weight)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, side, side), -1 to 1, of a side of 32 or a multiple of it -> features (B, 144)."""
        x = F.avg_pool2d(pictures.clamp(-1, 1), pictures.shape[-1] // SIDE)
        last = len(CHANNELS) - 2
        means = []
        for number in range(last + 1):
            x = F.relu(F.conv2d(x, self.get_buffer(f"weight_{number}"), stride=2, padding=1))
            means.append(F.adaptive_avg_pool2d(x, 2 if number == last else 1).flatten(1))
        return torch.cat(means, 1)


def distance_and_variety(
    real: Iterable[torch.Tensor], generated: Iterable[torch.Tensor], run: Run
) -> tuple[float, float]:
    """The Fréchet distance of generated from real pictures, and the generated pictures' variety: the mean standard
    deviation of their features, as a fraction of the real pictures'.

    Args:
        real: this worker's batches (B, 3, side, side), -1 to 1: every N-th picture, with N workers.
        generated: this worker's batches of generated pictures, likewise.
        run: gathers the features of all workers.
    """
    extractor = RandomFeatures().to(run.device)
    real_features, generated_features = (_all_features(extractor, pictures, run) for pictures in (real, generated))
    if not generated_features.isfinite().all():
        return math.nan, 0.0
    variety = generated_features.std(0).mean() / real_features.std(0).mean()
    return frechet_distance(real_features, generated_features), float(variety)


def _all_features(extractor: RandomFeatures, batches: Iterable[torch.Tensor], run: Run) -> torch.Tensor:
    """Features (N, 144) of all workers' pictures, in the order in which one worker would have them."""
    # The empty tensor is for a worker that has no pictures, where there are fewer of them than workers.
    own = torch.cat([torch.empty(0, FEATURES), *(extractor(pictures).cpu() for pictures in batches)])
    parts = run.gather([own])
    features = own.new_empty(sum(len(part) for part in parts), FEATURES)
    for rank, part in enumerate(parts):
        features[rank :: run.world_size] = part
    return features
