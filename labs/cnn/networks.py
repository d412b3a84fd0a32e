"""The networks that homework 3 gives: its sample's, and its report question's without and with shortcuts."""

import torch
from torch import nn
from torch.nn import functional as F


class PlainNet(nn.Module):
    """The sample's network. Input (B, 3, size, size) float, output (B, classes) logits."""

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
    """Six convolutions, the third and the fifth of them halving the picture, and two linear layers.

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
    """The same layers: the second, fourth and sixth convolution's input is added to its output before the ReLU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, convolution in enumerate(self.convolutions, 1):
            y = convolution(x)
            x = F.relu(y if number % 2 else y + x)
        logits: torch.Tensor = self.fc(x.flatten(1))
        return logits
