"""The networks of the GAN lab as one module: a generator and its critic, or CycleGAN's two of each."""

import torch
from torch import nn

from labs.gan.config import GanConfig
from labs.gan.cyclegan_networks import CycleGan, ResidualGenerator
from labs.gan.dcgan import Discriminator, Generator
from labs.gan.style_generator import StyleGenerator

NOISE_DIM = 100
"""Dimensions of the noise that a picture is generated from, as in the sample."""


class Gan(nn.Module):
    """A generator and a critic; `forward` is the generator's."""

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self.generator, self.critic = build_generator(config), Discriminator(config.width, config.side, config.norm)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """(B, NOISE_DIM) -> pictures (B, 3, side, side), -1 to 1."""
        pictures: torch.Tensor = self.generator(noise)
        return pictures


def build_networks(config: GanConfig) -> Gan | CycleGan:
    """All networks that are trained, with initial weights."""
    return CycleGan(config.width, config.side) if config.generator == "cyclegan" else Gan(config)


def build_generator(config: GanConfig) -> Generator | StyleGenerator | ResidualGenerator:
    """The generator whose pictures are submitted, with initial weights."""
    if config.generator == "cyclegan":
        return ResidualGenerator(config.width, config.side)
    if config.generator == "style":
        return StyleGenerator(NOISE_DIM, config.width, config.side)
    return Generator(NOISE_DIM, config.width, config.side)
