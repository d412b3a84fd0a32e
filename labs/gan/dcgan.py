"""DCGAN: the generator and the discriminator of homework 6's sample, for pictures whose side is a power of two.

With side 64 and width 64 they have the sample's number of parameters. Radford et al., arXiv:1511.06434.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

Norm = Literal["batch", "instance", "layer", "spectral", "none"]


def num_doublings(side: int) -> int:
    """How often a feature map of 4 x 4 doubles its side to reach `side`."""
    return (side // 4).bit_length() - 1


class Generator(nn.Module):
    """A linear layer to a feature map of 4 x 4, then transposed convolutions, each of which doubles the side."""

    def __init__(self, noise_dim: int, width: int, side: int) -> None:
        super().__init__()
        channels = width * 2 ** (num_doublings(side) - 1)
        self.first = nn.Sequential(
            nn.Linear(noise_dim, channels * 16, bias=False), nn.BatchNorm1d(channels * 16), nn.ReLU()
        )
        layers: list[nn.Module] = []
        for _ in range(num_doublings(side) - 1):
            layers += [doubling_convolution(channels, channels // 2), nn.BatchNorm2d(channels // 2), nn.ReLU()]
            channels //= 2
        self.rest = nn.Sequential(
            nn.Unflatten(1, (-1, 4, 4)), *layers, doubling_convolution(channels, 3), nn.Tanh()
        )  # fmt: skip
        self.apply(dcgan_init)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B, noise_dim) -> pictures (B, 3, side, side), -1 to 1."""
        pictures: torch.Tensor = self.rest(self.first(noise))
        return pictures


class Discriminator(nn.Module):
    """Convolutions of stride 2 down to a feature map of 4 x 4, then one number a picture.

    The sample's sigmoid is left out: the cross-entropy loss contains it, and a WGAN's critic has none.
    """

    def __init__(self, width: int, side: int, norm: Norm) -> None:
        super().__init__()
        wrap = spectral_norm if norm == "spectral" else _identity
        layers: list[nn.Module] = [wrap(nn.Conv2d(3, width, 4, 2, 1)), nn.LeakyReLU(0.2)]
        for _ in range(num_doublings(side) - 1):
            layers.append(wrap(nn.Conv2d(width, 2 * width, 4, 2, 1)))
            width *= 2
            layers += [*_norm_layers(norm, width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, wrap(nn.Conv2d(width, 1, 4)), nn.Flatten(0))
        self.apply(kaiming_init if norm == "none" else dcgan_init)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side) -> (B,) logits or scores, higher for pictures that look real."""
        logits: torch.Tensor = self.layers(pictures)
        return logits


def dcgan_init(layer: nn.Module) -> None:
    """Initial weights of the sample: N(0, 0.02) for convolutions, N(1, 0.02) for batch norms."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        with torch.no_grad():
            layer.weight.normal_(0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


def kaiming_init(layer: nn.Module) -> None:
    """Initial weights that keep the variance of the feature maps from layer to layer, for networks without
    normalisation (He et al., arXiv:1502.01852)."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, 0.2)


def doubling_convolution(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the side."""
    return nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, output_padding=1, bias=False)


def _norm_layers(norm: Norm, channels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "instance":
        return [nn.InstanceNorm2d(channels, affine=True)]
    if norm == "layer":
        return [nn.GroupNorm(1, channels)]
    return []


def _identity(layer: nn.Module) -> nn.Module:
    return layer
