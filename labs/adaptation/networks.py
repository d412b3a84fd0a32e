"""The networks of domain-adversarial training (DaNN; Ganin et al., arXiv:1505.07818).

A feature extractor, a label predictor, and a domain classifier behind a gradient reversal layer; several of them can
form an ensemble. `DiscrepancyNet` is the network of another method, maximum classifier discrepancy.
"""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn


class ReverseGradient(torch.autograd.Function):
    """Gradient reversal layer: R(x) = x, dR/dx = -weight * I (Ganin et al., section 4.2)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


def feature_extractor(width: int) -> nn.Sequential:
    """The course's: (B, 1, 32, 32) to (B, 8 * width) by five convolutions, each followed by 2x2 max-pooling."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, width, 2 * width, 4 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


def label_predictor(hidden: int, classes: int) -> nn.Sequential:
    """The course's: (B, hidden) features to (B, classes) logits."""
    layers = [layer for _ in range(2) for layer in (nn.Linear(hidden, hidden), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


def domain_classifier(hidden: int) -> nn.Sequential:
    """The course's: (B, hidden) features to (B, 1) logits of the source domain."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(hidden, 1))


class AdversarialNet(nn.Module):
    """Domain-adversarial network; without `adversarial` the feature extractor and the label predictor alone."""

    def __init__(self, width: int, classes: int, adversarial: bool) -> None:
        super().__init__()
        self.features = feature_extractor(width)
        self.labels = label_predictor(8 * width, classes)
        self.domain = domain_classifier(8 * width) if adversarial else None

    def forward(self, images: torch.Tensor, reversal: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, 32, 32) images to class logits (B, C) and domain logits (B,), which are 0 without `adversarial`."""
        features = self.features(images)
        domains = features.new_zeros(len(images), 1)
        if self.domain is not None:
            domains = self.domain(ReverseGradient.apply(features, reversal))
        return self.labels(features), domains[:, 0]


class Ensemble(nn.Module):
    """Networks of one shape that are trained on the same batches from different initial weights."""

    def __init__(self, members: int, width: int, classes: int, adversarial: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(AdversarialNet(width, classes, adversarial) for _ in range(members))

    def forward(self, images: torch.Tensor, reversal: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, 32, 32) images, 0 to 1, to the class logits (M, B, C) and the domain logits (M, B) of the M members.

        Args:
            reversal: weight lambda of the reversed gradient of the domain classifier.
        """
        labels, domains = zip(*(member(images, reversal) for member in self.members), strict=True)
        return torch.stack(labels), torch.stack(domains)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The first member's features (B, 8 * width)."""
        features: torch.Tensor = cast(AdversarialNet, self.members[0]).features(images)
        return features

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, C): the mean over the members."""
        probabilities: torch.Tensor = self(images)[0].softmax(2).mean(0)
        return probabilities


class DiscrepancyNet(nn.Module):
    """A feature extractor G with two label predictors, F_1 and F_2 (Saito et al., arXiv:1712.02560)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.extractor = feature_extractor(width)
        self.predictors = nn.ModuleList(label_predictor(8 * width, classes) for _ in range(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 1, 32, 32) images, 0 to 1, to the logits of both predictors (2, B, C)."""
        features = self.extractor(images)
        return torch.stack([predictor(features) for predictor in self.predictors])

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The features (B, 8 * width)."""
        features: torch.Tensor = self.extractor(images)
        return features

    def classify(self, images: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, C): the mean of both predictors."""
        probabilities: torch.Tensor = self(images).softmax(2).mean(0)
        return probabilities
