"""Families of small picture classifiers: some attack, others are attacked, and none is in both roles.

Each is built from a width (channels of the first of three stages, each stage twice as wide and half as large as the one
before), a depth (units of a stage) and the stride of its first layer and first stage: 1 for CIFAR-10 as in the papers,
2 for CPUs, on which that is ten times faster.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from labs.shared.vision.residual import Block

CLASSES, SIDE = 10, 32
MEAN, STD = (0.491, 0.482, 0.447), (0.202, 0.199, 0.201)
"""The course's normalisation, of channels from 0 to 1."""


class Network(nn.Module):
    """A family's features, their mean over the picture and a linear layer.

    Input (B, 3, 32, 32), values 0 to 255; output (B, classes) logits. Normalises by itself, so that whoever perturbs
    pictures counts in the pixels' own unit.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, family: str, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        layers, outputs = FAMILIES[family](width, depth, stride)
        # Convolutions are half as fast again with the channels last.
        self.features = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.head = nn.Linear(outputs, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images - self.mean) / self.std
        logits: torch.Tensor = self.head(self.features(x.contiguous(memory_format=torch.channels_last)).mean((2, 3)))
        return logits


class Ensemble(nn.Module):
    """Networks side by side, one for each family named: (B, 3, 32, 32), values 0 to 255 -> (networks, B, classes)."""

    def __init__(self, families: tuple[str, ...], width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(Network(family, width, depth, stride) for family in families)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(images) for network in self.networks])


Layers = tuple[list[nn.Module], int]
"""Layers from pictures to features, and the number of channels of these."""


def unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def staged(block: Callable[[int, int, int], nn.Module], width: int, depth: int, stride: int) -> Layers:
    """A first convolution, then three stages of blocks `(inputs, outputs, stride)`."""
    layers: list[nn.Module] = [unit(3, width, 3, stride)]
    inputs = width
    for stage in range(3):
        outputs = width * 2**stage
        for number in range(depth):
            layers.append(block(inputs, outputs, 1 if number else 2 if stage else stride))
            inputs = outputs
    return layers, inputs


def plain(inputs: int, outputs: int, stride: int) -> nn.Module:
    """VGG (Simonyan & Zisserman, arXiv:1409.1556): convolutions and max-pooling alone."""
    return nn.Sequential(unit(inputs, outputs), nn.MaxPool2d(stride) if stride > 1 else nn.Identity())


def nin(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Network in network (Lin et al., arXiv:1312.4400): a convolution, then one of 1 x 1 pixel."""
    return nn.Sequential(unit(inputs, outputs, 3, stride), unit(outputs, outputs, 1))


def separable(inputs: int, outputs: int, stride: int) -> nn.Module:
    """MobileNet (Howard et al., arXiv:1704.04861): a convolution within each channel, then one of 1 x 1 pixel."""
    return nn.Sequential(unit(inputs, inputs, 3, stride, groups=inputs), unit(inputs, outputs, 1))


class PreActivation(nn.Module):
    """He et al., Identity Mappings (arXiv:1603.05027): normalisation and ReLU before the convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ready = self.first(x)
        shortcut: torch.Tensor = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(ready)
        maps: torch.Tensor = shortcut + self.branch(ready)
        return maps


class Dense(nn.Module):
    """Huang et al., Densely Connected Networks (arXiv:1608.06993): each convolution sees all the maps before it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        growth = outputs // 2
        self.first, self.second = unit(inputs, growth), unit(inputs + growth, growth)
        self.transition = unit(inputs + 2 * growth, outputs, 1)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(x)
        x = torch.cat([x, self.first(x)], 1)
        maps: torch.Tensor = self.transition(torch.cat([x, self.second(x)], 1))
        return maps


class Squeeze(nn.Module):
    """Hu et al., Squeeze-and-Excitation (arXiv:1709.01507): channels weighed by what the whole picture has."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.maps = unit(inputs, outputs, 3, stride)
        self.gates = nn.Sequential(nn.Linear(outputs, outputs // 4), nn.ReLU(), nn.Linear(outputs // 4, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.maps(x)
        weights: torch.Tensor = self.gates(maps.mean((2, 3))).sigmoid()
        return maps * weights[:, :, None, None]


class Inception(nn.Module):
    """Szegedy et al., Going Deeper (arXiv:1409.4842): windows of 1, 3 and 5 pixels and a pooled one, side by side."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        part = outputs // 4
        self.branches = nn.ModuleList(
            [
                unit(inputs, part, 1, stride),
                unit(inputs, part, 3, stride),
                nn.Sequential(unit(inputs, part, 1), unit(part, part, 5, stride)),
                nn.Sequential(nn.AvgPool2d(3, stride, 1), unit(inputs, part, 1)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Grouped(nn.Module):
    """Xie et al., ResNeXt (arXiv:1611.05431): a shortcut around 1 x 1, grouped 3 x 3 and 1 x 1 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            unit(inputs, outputs, 1), unit(outputs, outputs, 3, stride, groups=4), unit(outputs, outputs, 1)
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.shortcut(x) + self.branch(x)
        return maps


class Mixer(nn.Module):
    """Tolstikhin et al., MLP-Mixer (arXiv:2105.01601): an MLP across places, then one across channels."""

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.across_places = nn.Sequential(nn.Linear(places, places), nn.GELU(), nn.Linear(places, places))
        self.across_channels = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.across_places(self.norm1(tokens).transpose(1, 2)).transpose(1, 2)
        tokens = tokens + self.across_channels(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


def mixer(width: int, depth: int, stride: int) -> Layers:
    """Patches of 4 x 4 pixels, or of 8 x 8 with a stride of 2."""
    channels, patch = 4 * width, 4 * stride
    places = (SIDE // patch) ** 2
    patches = nn.Conv2d(3, channels, patch, patch)
    return [patches, *(Mixer(channels, places) for _ in range(2 * depth))], channels


FAMILIES: dict[str, Callable[[int, int, int], Layers]] = {
    "residual": partial(staged, Block),
    "preactivation": partial(staged, PreActivation),
    "nin": partial(staged, nin),
    "plain": partial(staged, plain),
    "dense": partial(staged, Dense),
    "separable": partial(staged, separable),
    "squeeze": partial(staged, Squeeze),
    "inception": partial(staged, Inception),
    "grouped": partial(staged, Grouped),
    "mixer": mixer,
}
