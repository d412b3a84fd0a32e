"""A style-based generator of modest size, after StyleGAN 2 (Karras et al., arXiv:1912.04958).

A mapping network turns noise into a style; the style scales the channels of every convolution; each resolution adds its
own share to the picture. Left out: noise at each place, mixing of two styles, and path-length regularisation.
"""

import torch
from torch import nn
from torch.nn import functional as F

from labs.nn.dcgan import stages

SLOPE = 0.2


class StyledConvolution(nn.Module):
    """A convolution whose input channels the style scales, and whose outputs are scaled back to unit variance."""

    def __init__(self, inside: int, out: int, kernel: int, style: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.weight = nn.Parameter(torch.randn(out, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out))
        self.scales = nn.Linear(style, inside)
        nn.init.normal_(self.scales.weight, 0.0, style**-0.5)
        nn.init.ones_(self.scales.bias)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """(B, inside, H, W) and (B, style) -> (B, out, H, W)."""
        weight = self.weight * (self.weight[0].numel() ** -0.5)
        scales = self.scales(style)
        # Scaling the inputs and the outputs is the same as a kernel of its own for each picture, and faster.
        x = F.conv2d(x * scales[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            variance = scales.square() @ weight.square().sum((2, 3)).T
            x = x * (variance + 1e-8).rsqrt()[:, :, None, None]
        return x + self.bias[:, None, None]


class StyleGenerator(nn.Module):
    """From 4 x 4 learnt places to a picture; `width` channels at the full side, up to 8 times as many at 4 x 4."""

    def __init__(self, noise: int, width: int, side: int) -> None:
        super().__init__()
        channels = [width * min(8, 2 ** (stages(side) - stage)) for stage in range(stages(side) + 1)]
        self.mapping = nn.Sequential(nn.Linear(noise, noise), nn.LeakyReLU(SLOPE),
                                     nn.Linear(noise, noise), nn.LeakyReLU(SLOPE))  # fmt: skip
        self.start = nn.Parameter(torch.randn(channels[0], 4, 4))
        pairs = zip([channels[0], *channels[:-1]], channels, strict=True)
        self.convolutions = nn.ModuleList(StyledConvolution(inside, out, 3, noise) for inside, out in pairs)
        self.colors = nn.ModuleList(StyledConvolution(out, 3, 1, noise, demodulate=False) for out in channels)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B, noise) -> pictures (B, 3, side, side), about -1 to 1.

        The noise is not scaled to unit length, so that a truncated one (nearer to zero) gives more typical faces.
        """
        style = self.mapping(noise)
        x = self.start.expand(len(noise), *self.start.shape)
        pictures = x.new_zeros(len(noise), 3, 4, 4)
        for number, (convolution, color) in enumerate(zip(self.convolutions, self.colors, strict=True)):
            if number:
                x, pictures = (F.interpolate(part, scale_factor=2, mode="bilinear") for part in (x, pictures))
            x = F.leaky_relu(convolution(x, style), SLOPE) * 2**0.5
            pictures = pictures + color(x, style)
        return pictures
