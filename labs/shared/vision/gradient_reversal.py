"""Networks of the adaptation lab: features, a label predictor and, behind a reversed gradient, a domain classifier."""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn


class ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient is taken `-weight` times (Ganin et al., 2016)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


def feature_extractor(width: int) -> nn.Sequential:
    """The sample's: (B, 1, 32, 32) to (B, 8 * width) by five convolutions, each halving the picture."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, width, 2 * width, 4 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


def label_predictor(hidden: int, classes: int) -> nn.Sequential:
    """The sample's: (B, hidden) features to (B, classes) logits."""
    layers = [layer for _ in range(2) for layer in (nn.Linear(hidden, hidden), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


def domain_classifier(hidden: int) -> nn.Sequential:
    """The sample's: (B, hidden) features to (B, 1) logits of being a photograph."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(hidden, 1))


class AdversarialNet(nn.Module):
    """Domain-adversarial network; without `adversarial` the plain classifier."""

    def __init__(self, width: int, classes: int, adversarial: bool) -> None:
        super().__init__()
        self.features = feature_extractor(width)
        self.labels = label_predictor(8 * width, classes)
        self.domain = domain_classifier(8 * width) if adversarial else None

    def forward(self, images: torch.Tensor, reversal: float) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(images)
        domains = features.new_zeros(len(images), 1)
        if self.domain is not None:
            domains = self.domain(ReverseGradient.apply(features, reversal))
        return self.labels(features), domains[:, 0]


class Ensemble(nn.Module):
    """Networks that learn side by side, each from its own first weights, and guess together."""

    def __init__(self, members: int, width: int, classes: int, adversarial: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(AdversarialNet(width, classes, adversarial) for _ in range(members))

    def forward(self, images: torch.Tensor, reversal: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, 32, 32) pictures, 0 to 1, to each member's logits of the classes (M, B, C) and of the domain (M, B).

        Args:
            reversal: weight with which the features unlearn what tells the domains apart.
        """
        labels, domains = zip(*(member(images, reversal) for member in self.members), strict=True)
        return torch.stack(labels), torch.stack(domains)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The first member's features (B, 8 * width)."""
        features: torch.Tensor = cast(AdversarialNet, self.members[0]).features(images)
        return features

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, C): the mean over the members."""
        probabilities: torch.Tensor = self(images)[0].softmax(2).mean(0)
        return probabilities
