"""Networks that translate pictures of one style into another's and back, after CycleGAN (Zhu et al., arXiv:1703.10593).

Left out of the paper's: its buffer of older translations for the critics, and reflecting borders. Other than there, a
translator says what to change about a picture, and layer norm stands for instance norm: so few steps would not do to
learn to repeat a picture, and instance norm hides the colours that it has to keep.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from labs.gan import data
from labs.gan.dcgan import normal_weights
from labs.gan.pictures import Faces

BLOCKS = 3
"""Residual blocks of a translator; the paper has 6 for pictures of 128 x 128."""


class Translator(nn.Module):
    """Convolutions down to a quarter of the side, residual blocks, and up again."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        most = 4 * width
        self.layers = nn.Sequential(
            *_layer(nn.Conv2d(3, width, 7, 1, 3)),
            *_layer(nn.Conv2d(width, 2 * width, 3, 2, 1)),
            *_layer(nn.Conv2d(2 * width, most, 3, 2, 1)),
            *(Residual(most) for _ in range(BLOCKS)),
            *_layer(nn.ConvTranspose2d(most, 2 * width, 4, 2, 1)),
            *_layer(nn.ConvTranspose2d(2 * width, width, 4, 2, 1)),
            nn.Conv2d(width, 3, 7, 1, 3),
        )
        self.apply(normal_weights)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side) of one style, -1 to 1 -> as many of the other, about -1 to 1."""
        translated: torch.Tensor = pictures + self.layers(pictures)
        return translated

    def example(self, data_dir: Path) -> np.ndarray:
        """Two inputs for the served model's signature: pictures, where the lab's other generators take noise."""
        (pictures,) = Faces(data_dir, self.side, held_out=True, split=data.OTHERS)[torch.arange(2)]
        inputs: np.ndarray = pictures.numpy()
        return inputs


class Residual(nn.Module):
    """Two convolutions, whose outcome is added to what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (_layer(nn.Conv2d(width, width, 3, 1, 1)) for _ in range(2))
        self.layers = nn.Sequential(*first, *second[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)  # type: ignore[no-any-return]


class Pair(nn.Module):
    """Two translators, into the faces' style and into the other one, and a critic of each style; forward is the first
    translator's."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.generator = nn.ModuleList(Translator(width, side) for _ in range(2))
        self.critic = nn.ModuleList(patch_critic(width) for _ in range(2))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        translated: torch.Tensor = self.generator[0](pictures)
        return translated


def patch_critic(width: int) -> nn.Sequential:
    """A critic that judges patches of 22 x 22 pixels, each on its own: styles are local, and what a picture shows is
    the cycle's business."""
    critic = nn.Sequential(
        nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1), nn.GroupNorm(1, 2 * width), nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 4, 1, 1),
    )  # fmt: skip
    critic.apply(normal_weights)
    return critic


def _layer(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return convolution, nn.GroupNorm(1, convolution.out_channels), nn.ReLU()
