"""The networks given in the course for pictures of food: the sample of homework 3, its report question's six layers
without and with shortcuts, and the classifier that homework 9 explains."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from labs.shared.vision.residual import ResidualNet

Architecture = Literal["plain", "residual", "six", "six-residual", "deep"]


def build(architecture: Architecture, width: int, blocks: int, size: int, classes: int) -> nn.Module:
    """An untrained network: images (B, 3, size, size) float -> logits (B, classes)."""
    if architecture == "residual":
        return ResidualNet(width, blocks, classes)
    networks = {"plain": PlainNet, "six": SixLayerNet, "six-residual": SixLayerResidualNet, "deep": DeepNet}
    return networks[architecture](width, size, classes)


class PlainNet(nn.Module):
    """The sample's network: five stages of convolution, batch normalisation, ReLU and max-pooling, then an MLP.

    Input (B, 3, size, size) float, output (B, classes) logits.

    Args:
        width: channels of the first stage; 64 in the sample.
        size: height and width of the input, at least 32.
    """

    def __init__(self, width: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in (width, 2 * width, 4 * width, 8 * width, 8 * width):
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2, 2)]
            inputs = outputs
        self.cnn = nn.Sequential(*layers)
        self.fc = nn.Sequential(
            nn.Linear(inputs * (size // 32) ** 2, 16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.cnn(x).flatten(1))
        return logits


class SixLayerNet(nn.Module):
    """Six convolutions, of which the third and the fifth have stride 2, and two linear layers.

    Input (B, 3, size, size) float, output (B, classes) logits.

    Args:
        width: channels of the first two convolutions; the next two have twice as many, the last two four times.
    """

    def __init__(self, width: int, size: int, classes: int) -> None:
        super().__init__()
        channels = [3, width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs))
            for inputs, outputs, stride in zip(channels, channels[1:], (1, 1, 2, 1, 2, 1), strict=False)
        )
        side = -(-size // 4)
        self.fc = nn.Sequential(nn.Linear(4 * width * side**2, 4 * width), nn.ReLU(), nn.Linear(4 * width, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        logits: torch.Tensor = self.fc(x.flatten(1))
        return logits


class SixLayerResidualNet(SixLayerNet):
    """The same layers with shortcuts over the second, fourth and sixth convolution: x <- ReLU(f(x) + x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, convolution in enumerate(self.convolutions, 1):
            y = convolution(x)
            x = F.relu(y if number % 2 else y + x)
        logits: torch.Tensor = self.fc(x.flatten(1))
        return logits


class DeepNet(nn.Module):
    """The classifier that homework 9 explains: five stages of 3, 3, 3, 1 and 1 convolutions, each with batch
    normalisation and ReLU, with max-pooling after each stage; then two linear layers with dropout.

    Input (B, 3, size, size) float, output (B, classes) logits. Layers and names of weights are those of the course, so
    that its `checkpoint.pth` fits with `width` 64, `size` 128 and 11 classes.

    Args:
        width: half the channels of the first stage.
    """

    def __init__(self, width: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, convolutions in ((2 * width, 3), (2 * width, 3), (4 * width, 3), (8 * width, 1), (8 * width, 1)):
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.cnn = nn.Sequential(*layers)
        hidden = 16 * width
        self.fc = nn.Sequential(
            nn.Linear(inputs * (size // 32) ** 2, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.cnn(x).flatten(1))
        return logits
