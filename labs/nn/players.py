"""The two players of the GAN lab: their networks, their optimizers, and a step of one of them."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from labs.nn.dcgan import Discriminator, Generator
from labs.nn.style_generator import StyleGenerator
from labs.run import Run

if TYPE_CHECKING:
    from labs.gan import GanConfig

NOISE = 100
"""Numbers that a picture is drawn from, as in the sample."""


class Networks(nn.Module):
    """Both players; forward is the generator's."""

    def __init__(self, config: "GanConfig") -> None:
        super().__init__()
        self.generator, self.critic = build(config), Discriminator(config.width, config.side, config.norm)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        pictures: torch.Tensor = self.generator(noise)
        return pictures


def build(config: "GanConfig") -> Generator | StyleGenerator:
    """The generator, untrained."""
    kind = Generator if config.generator == "dcgan" else StyleGenerator
    return kind(NOISE, config.width, config.side)


def settle(drawer: nn.Module, noise: torch.Tensor) -> None:
    """Measure the batch statistics of averaged weights anew: those of the weights that they average do not fit, as
    averaging takes noise out of the weights, and pictures would lose contrast.

    Args:
        drawer: in training mode.
        noise: (N, noise).
    """
    norms = [module for module in drawer.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        for part in noise.split(200):
            drawer(part)


def optimizers(config: "GanConfig", networks: Networks) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """The generator's and the critic's."""

    def one(part: nn.Module, rate: float) -> torch.optim.Optimizer:
        if config.optimizer == "rmsprop":
            return torch.optim.RMSprop(part.parameters(), rate)
        return torch.optim.Adam(part.parameters(), rate, (config.beta1, config.beta2))

    return one(networks.generator, config.lr), one(networks.critic, config.lr_critic)


def step(optimizer: torch.optim.Optimizer, network: nn.Module, loss: torch.Tensor, run: Run) -> None:
    """One step of one player; the other one gets no gradients."""
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    run.sync_gradients(network)
    optimizer.step()
