"""A small style-based generator, after the first StyleGAN (Karras et al., arXiv:1812.04948).

A mapping network turns the noise into a style. Before each convolution the style sets every channel's scale and bias
(adaptive normalisation). Left out of the paper's: noise in each pixel, mixing of two styles, progressive growing.
Different from the paper's: the first feature map of 4 x 4 is made from the noise instead of being constant, as so few
layers can not make every shape out of one constant; and channels are normalised over the batch, as in the sample's
generator, since with the paper's instance norm the colours of the pictures varied less.
"""

from itertools import pairwise

import torch
from torch import nn

from labs.gan.dcgan import dcgan_init, doubling_convolution, kaiming_init, num_doublings

NEGATIVE_SLOPE = 0.2
"""Slope of the leaky ReLU for negative inputs."""


class StyledNorm(nn.Module):
    """Batch norm whose scale and bias are computed from the style: `y = scale(w) * norm(x) + bias(w)`."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.bias = nn.Linear(style_dim, channels), nn.Linear(style_dim, channels)
        for layer, initial in ((self.scale, 1.0), (self.bias, 0.0)):
            nn.init.normal_(layer.weight, 0.0, style_dim**-0.5)
            nn.init.constant_(layer.bias, initial)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) and (B, style_dim) -> (B, channels, H, W)."""
        scale, bias = (layer(style)[:, :, None, None] for layer in (self.scale, self.bias))
        return torch.addcmul(bias, self.norm(x), scale)


class StyleGenerator(nn.Module):
    """The sample's transposed convolutions with styled norms.

    At the full side, an upsampling and two convolutions take the place of the last transposed convolution: that one
    computes neighbouring pixels with different weights, and pictures show a chequered pattern.
    """

    def __init__(self, noise_dim: int, width: int, side: int) -> None:
        super().__init__()
        doublings = num_doublings(side)
        channels = [width * 2 ** (doublings - stage) // 2 for stage in range(doublings + 1)]
        self.mapping = nn.Sequential(nn.Linear(noise_dim, noise_dim), nn.LeakyReLU(NEGATIVE_SLOPE),
                                     nn.Linear(noise_dim, noise_dim), nn.LeakyReLU(NEGATIVE_SLOPE))  # fmt: skip
        self.first = nn.Sequential(nn.Linear(noise_dim, channels[0] * 16), nn.Unflatten(1, (-1, 4, 4)))
        self.styles = nn.ModuleList(StyledNorm(noise_dim, count) for count in channels)
        self.rest = nn.ModuleList(doubling_convolution(inputs, outputs) for inputs, outputs in pairwise(channels[:-1]))
        self.rest.append(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"),
                                       nn.Conv2d(channels[-2], channels[-1], 3, 1, 1, bias=False)))  # fmt: skip
        self.rest.append(nn.Conv2d(channels[-1], 3, 3, 1, 1))
        self.mapping.apply(kaiming_init)
        self.first.apply(kaiming_init)
        self.rest.apply(dcgan_init)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B, noise_dim) -> pictures (B, 3, side, side), -1 to 1."""
        style, x = self.mapping(noise), self.first(noise)
        for styled_norm, convolution in zip(self.styles, self.rest, strict=True):
            x = convolution(torch.relu(styled_norm(x, style)))
        return torch.tanh(x)
