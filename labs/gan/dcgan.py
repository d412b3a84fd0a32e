"""The generator and the discriminator of homework 6's sample, for pictures of any power of two (DCGAN).

At 64 x 64 and width 64 they are the sample's, to the parameter. Radford et al., arXiv:1511.06434.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["batch", "instance", "layer", "spectral", "none"]


def stages(side: int) -> int:
    """How often 4 x 4 places double to `side`."""
    return (side // 4).bit_length() - 1


class Generator(nn.Module):
    """A linear layer to 4 x 4 places, then transposed convolutions, each of which doubles the side."""

    def __init__(self, noise: int, width: int, side: int) -> None:
        super().__init__()
        channels = width * 2 ** (stages(side) - 1)
        self.first = nn.Sequential(
            nn.Linear(noise, channels * 16, bias=False), nn.BatchNorm1d(channels * 16), nn.ReLU()
        )
        layers: list[nn.Module] = []
        for _ in range(stages(side) - 1):
            layers += [doubling(channels, channels // 2), nn.BatchNorm2d(channels // 2), nn.ReLU()]
            channels //= 2
        self.rest = nn.Sequential(nn.Unflatten(1, (-1, 4, 4)), *layers, doubling(channels, 3), nn.Tanh())
        self.apply(normal_weights)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B, noise) -> pictures (B, 3, side, side), -1 to 1."""
        pictures: torch.Tensor = self.rest(self.first(noise))
        return pictures


class Discriminator(nn.Module):
    """Convolutions of stride 2 down to 4 x 4 places, then one number a picture: without the sample's sigmoid, which is
    part of the loss."""

    def __init__(self, width: int, side: int, norm: Norm) -> None:
        super().__init__()
        wrapped = spectral_norm if norm == "spectral" else _as_it_is
        layers: list[nn.Module] = [wrapped(nn.Conv2d(3, width, 4, 2, 1)), nn.LeakyReLU(0.2)]
        for _ in range(stages(side) - 1):
            layers.append(wrapped(nn.Conv2d(width, 2 * width, 4, 2, 1)))
            width *= 2
            layers += [*_normalised(norm, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, wrapped(nn.Conv2d(width, 1, 4)), nn.Flatten(0))
        self.apply(kaiming_weights if norm == "none" else normal_weights)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side) -> (B,): higher for what looks real."""
        logits: torch.Tensor = self.layers(pictures)
        return logits


def normal_weights(layer: nn.Module) -> None:
    """First weights of the sample: N(0, 0.02) of convolutions, N(1, 0.02) of batch norms."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        with torch.no_grad():
            layer.weight.normal_(0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


def kaiming_weights(layer: nn.Module) -> None:
    """First weights that keep the size of what passes: no norm will set it right (He et al., arXiv:1502.01852)."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, 0.2)


def doubling(inside: int, out: int) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the side."""
    return nn.ConvTranspose2d(inside, out, 5, 2, 2, output_padding=1, bias=False)


def _normalised(norm: Norm, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "instance":
        return [nn.InstanceNorm2d(channels, affine=True)]
    return [nn.GroupNorm(1, channels)] if norm == "layer" else []


def _as_it_is(layer: nn.Module) -> nn.Module:
    return layer
