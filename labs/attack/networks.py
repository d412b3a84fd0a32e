"""Architectures of small picture classifiers; none of them is both a surrogate's and a victim's.

Each is built from a width (channels of the first of three stages; each stage has twice the channels and half the side
of the one before), a depth (blocks of a stage) and the stride of its first layer and first stage: 1 as in the papers on
CIFAR-10, or 2, which is ten times faster on a CPU.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from labs.shared.vision.residual import Block

CLASSES, SIDE = 10, 32
MEAN, STD = (0.491, 0.482, 0.447), (0.202, 0.199, 0.201)
"""The course's normalisation of the channels, whose values are from 0 to 1."""


class Network(nn.Module):
    """A classifier: the feature maps of an architecture, their mean over the picture and a linear layer.

    Input (B, 3, 32, 32), values 0 to 255; output (B, classes) logits. The network itself normalises its input, so that
    perturbations are in the unit of pixels.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, family: str, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        layers, outputs = FAMILIES[family](width, depth, stride)
        # Channels last: convolutions are 1.5 times as fast.
        self.features = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.head = nn.Linear(outputs, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images - self.mean) / self.std
        logits: torch.Tensor = self.head(self.features(x.contiguous(memory_format=torch.channels_last)).mean((2, 3)))
        return logits


class Ensemble(nn.Module):
    """Several networks, one for each family given: (B, 3, 32, 32), values 0 to 255 -> logits (networks, B, classes)."""

    def __init__(self, families: tuple[str, ...], width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(Network(family, width, depth, stride) for family in families)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([network(images) for network in self.networks])


Layers = tuple[list[nn.Module], int]
"""Layers from pictures to feature maps, and the number of channels of these."""


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def three_stages(block: Callable[[int, int, int], nn.Module], width: int, depth: int, stride: int) -> Layers:
    """A first convolution, then three stages of blocks `(inputs, outputs, stride)`."""
    layers: list[nn.Module] = [conv_bn_relu(3, width, 3, stride)]
    inputs = width
    for stage in range(3):
        outputs = width * 2**stage
        for number in range(depth):
            first_stride = 2 if stage else stride  # the first block of stages 2 and 3 halves the side
            layers.append(block(inputs, outputs, first_stride if number == 0 else 1))
            inputs = outputs
    return layers, inputs


def vgg_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    """VGG (Simonyan & Zisserman, arXiv:1409.1556): convolutions and max-pooling only."""
    return nn.Sequential(conv_bn_relu(inputs, outputs), nn.MaxPool2d(stride) if stride > 1 else nn.Identity())


def nin_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Network in network (Lin et al., arXiv:1312.4400): a convolution, then one of 1 x 1 pixel."""
    return nn.Sequential(conv_bn_relu(inputs, outputs, 3, stride), conv_bn_relu(outputs, outputs, 1))


def separable_block(inputs: int, outputs: int, stride: int) -> nn.Module:
    """MobileNet (Howard et al., arXiv:1704.04861): a depthwise convolution, then one of 1 x 1 pixel."""
    return nn.Sequential(conv_bn_relu(inputs, inputs, 3, stride, groups=inputs), conv_bn_relu(inputs, outputs, 1))


class PreActivationBlock(nn.Module):
    """He et al., Identity Mappings (arXiv:1603.05027): batch norm and ReLU before the convolutions."""

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
        activated = self.first(x)
        shortcut: torch.Tensor = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(activated)
        maps: torch.Tensor = shortcut + self.branch(activated)
        return maps


class DenseBlock(nn.Module):
    """Huang et al., Densely Connected Networks (arXiv:1608.06993): the input of each convolution is all feature
    maps before it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        growth = outputs // 2
        self.first, self.second = conv_bn_relu(inputs, growth), conv_bn_relu(inputs + growth, growth)
        self.transition = conv_bn_relu(inputs + 2 * growth, outputs, 1)
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(x)
        x = torch.cat([x, self.first(x)], 1)
        maps: torch.Tensor = self.transition(torch.cat([x, self.second(x)], 1))
        return maps


class SqueezeExcitationBlock(nn.Module):
    """Hu et al., Squeeze-and-Excitation (arXiv:1709.01507): channels are weighted by gates that
    are computed from their means over the picture."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.maps = conv_bn_relu(inputs, outputs, 3, stride)
        self.gates = nn.Sequential(nn.Linear(outputs, outputs // 4), nn.ReLU(), nn.Linear(outputs // 4, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.maps(x)
        weights: torch.Tensor = self.gates(maps.mean((2, 3))).sigmoid()
        return maps * weights[:, :, None, None]


class InceptionBlock(nn.Module):
    """Szegedy et al., Going Deeper (arXiv:1409.4842): convolutions of 1, 3 and 5 pixels and a pooling
    branch, whose outputs are concatenated."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(inputs, width, 1, stride),
                conv_bn_relu(inputs, width, 3, stride),
                nn.Sequential(conv_bn_relu(inputs, width, 1), conv_bn_relu(width, width, 5, stride)),
                nn.Sequential(nn.AvgPool2d(3, stride, 1), conv_bn_relu(inputs, width, 1)),
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class ResNeXtBlock(nn.Module):
    """Xie et al., ResNeXt (arXiv:1611.05431): a shortcut around 1 x 1, grouped 3 x 3 and 1 x 1 convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_bn_relu(inputs, outputs, 1),
            conv_bn_relu(outputs, outputs, 3, stride, groups=4),
            conv_bn_relu(outputs, outputs, 1),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.shortcut(x) + self.branch(x)
        return maps


class MixerBlock(nn.Module):
    """Tolstikhin et al., MLP-Mixer (arXiv:2105.01601): an MLP across the patches, then one across the channels."""

    def __init__(self, channels: int, patches: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.across_patches = nn.Sequential(nn.Linear(patches, patches), nn.GELU(), nn.Linear(patches, patches))
        self.across_channels = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.across_patches(self.norm1(tokens).transpose(1, 2)).transpose(1, 2)
        tokens = tokens + self.across_channels(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


def mixer(width: int, depth: int, stride: int) -> Layers:
    """MLP-Mixer on patches of 4 x 4 pixels, or of 8 x 8 with a stride of 2."""
    channels, side = 4 * width, 4 * stride
    patches = (SIDE // side) ** 2
    embedding = nn.Conv2d(3, channels, side, side)
    return [embedding, *(MixerBlock(channels, patches) for _ in range(2 * depth))], channels


FAMILIES: dict[str, Callable[[int, int, int], Layers]] = {
    "residual": partial(three_stages, Block),
    "preactivation": partial(three_stages, PreActivationBlock),
    "nin": partial(three_stages, nin_block),
    "plain": partial(three_stages, vgg_block),
    "dense": partial(three_stages, DenseBlock),
    "separable": partial(three_stages, separable_block),
    "squeeze": partial(three_stages, SqueezeExcitationBlock),
    "inception": partial(three_stages, InceptionBlock),
    "grouped": partial(three_stages, ResNeXtBlock),
    "mixer": mixer,
}
