"""The life-long lab's classifier, whose size the course fixes."""

from itertools import pairwise

import torch
from torch import nn

from labs.lifelong.data import CLASSES, SIDE


class Classifier(nn.Module):
    """MLP with ReLU. Input (B, 28, 28) uint8, output (B, 10) logits."""

    def __init__(self, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = [SIDE**2, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(images.flatten(1) / 255)
        return logits
