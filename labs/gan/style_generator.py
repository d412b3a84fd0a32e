"""A style-based generator of modest size, after the first StyleGAN (Karras et al., arXiv:1812.04948).

A mapping network turns noise into a style, and at each side the style sets anew how strong every channel is. Left out:
noise at each place, mixing of two styles, and growth from small pictures to large ones. The noise itself draws the
first 4 x 4 places, as so few layers can't make every shape out of one; and channels are normed over the batch, as in
the sample's generator: with the paper's norm over each picture, colours varied less.
"""

from itertools import pairwise

import torch
from torch import nn

from labs.gan.dcgan import doubling, kaiming_weights, normal_weights, stages

SLOPE = 0.2


class Styled(nn.Module):
    """Channels, normed over the batch, with the spread and the mean that the style asks for."""

    def __init__(self, style: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.spread, self.mean = nn.Linear(style, channels), nn.Linear(style, channels)
        for layer, usual in ((self.spread, 1.0), (self.mean, 0.0)):
            nn.init.normal_(layer.weight, 0.0, style**-0.5)
            nn.init.constant_(layer.bias, usual)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) and (B, style) -> (B, channels, H, W)."""
        spread, mean = (layer(style)[:, :, None, None] for layer in (self.spread, self.mean))
        return torch.addcmul(mean, self.norm(x), spread)


class StyleGenerator(nn.Module):
    """The sample's transposed convolutions with styles, and at the full side two convolutions in place of one: where
    each place is made of other weights than the next, pictures show a chequered pattern."""

    def __init__(self, noise: int, width: int, side: int) -> None:
        super().__init__()
        channels = [width * 2 ** (stages(side) - stage) // 2 for stage in range(stages(side) + 1)]
        self.mapping = nn.Sequential(nn.Linear(noise, noise), nn.LeakyReLU(SLOPE),
                                     nn.Linear(noise, noise), nn.LeakyReLU(SLOPE))  # fmt: skip
        self.first = nn.Sequential(nn.Linear(noise, channels[0] * 16), nn.Unflatten(1, (-1, 4, 4)))
        self.styles = nn.ModuleList(Styled(noise, count) for count in channels)
        self.rest = nn.ModuleList(doubling(inside, out) for inside, out in pairwise(channels[:-1]))
        self.rest.append(nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"),
                                       nn.Conv2d(channels[-2], channels[-1], 3, 1, 1, bias=False)))  # fmt: skip
        self.rest.append(nn.Conv2d(channels[-1], 3, 3, 1, 1))
        self.mapping.apply(kaiming_weights)
        self.first.apply(kaiming_weights)
        self.rest.apply(normal_weights)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B, noise) -> pictures (B, 3, side, side), -1 to 1."""
        style, x = self.mapping(noise), self.first(noise)
        for styled, convolution in zip(self.styles, self.rest, strict=True):
            x = convolution(torch.relu(styled(x, style)))
        return torch.tanh(x)
