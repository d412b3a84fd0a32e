"""CycleGAN's networks: two generators that translate between two styles, and a critic of each style.

Zhu et al., arXiv:1703.10593. Left out of the paper's: the buffer of earlier translations for the critics, and
reflection padding. Different from the paper's: a generator's output is added to its input, because in so few steps it
would not learn to copy a picture; and layer norm takes the place of instance norm, which removes the colours that a
translation has to keep.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from labs.gan import data
from labs.gan.dcgan import dcgan_init
from labs.gan.pictures import Pictures

BLOCKS = 3
"""Residual blocks of a generator; the paper has 6 for pictures of 128 x 128."""


class ResidualGenerator(nn.Module):
    """Convolutions down to a quarter of the side, residual blocks, and transposed convolutions up again."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(3, width, 7, 1, 3)),
            *_normalised(nn.Conv2d(width, 2 * width, 3, 2, 1)),
            *_normalised(nn.Conv2d(2 * width, 4 * width, 3, 2, 1)),
            *(ResidualBlock(4 * width) for _ in range(BLOCKS)),
            *_normalised(nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1)),
            *_normalised(nn.ConvTranspose2d(2 * width, width, 4, 2, 1)),
            nn.Conv2d(width, 3, 7, 1, 3),
        )
        self.apply(dcgan_init)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, side, side) of one style, -1 to 1 -> their translations, about -1 to 1."""
        translated: torch.Tensor = pictures + self.layers(pictures)
        return translated

    def example(self, data_dir: Path) -> np.ndarray:
        """Two inputs for the served model's signature: pictures, where the lab's other generators take noise."""
        (pictures,) = Pictures(data_dir, self.side, held_out=True, split=data.OTHER_STYLE)[torch.arange(2)]
        inputs: np.ndarray = pictures.numpy()
        return inputs


class ResidualBlock(nn.Module):
    """Two convolutions, whose output is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (_normalised(nn.Conv2d(width, width, 3, 1, 1)) for _ in range(2))
        self.layers = nn.Sequential(*first, *second[:-1])  # no ReLU before the addition

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)  # type: ignore[no-any-return]


class CycleGan(nn.Module):
    """Two generators, into the faces' style and into the other style, and the critics of these two styles; `forward` is
    the first generator's."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.generator = nn.ModuleList(ResidualGenerator(width, side) for _ in range(2))
        self.critic = nn.ModuleList(patch_critic(width) for _ in range(2))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        translated: torch.Tensor = self.generator[0](pictures)
        return translated


def patch_critic(width: int) -> nn.Sequential:
    """A PatchGAN critic, (B, 3, side, side) -> scores (B, 1, h, w) of overlapping patches of 22 x 22 pixels.

    Patches are enough for a style; that the picture as a whole stays the same is up to the cycle-consistency loss.
    """
    critic = nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GroupNorm(1, 2 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4, 1, 1),
    )  # fmt: skip
    critic.apply(dcgan_init)
    return critic


def _normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    """A convolution, layer norm (a group norm of one group) and ReLU."""
    return convolution, nn.GroupNorm(1, convolution.out_channels), nn.ReLU()
