"""The two players of the GAN lab: their networks, their optimizers, and a step of one of them."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from labs.nn.dcgan import Discriminator, Generator
from labs.nn.style_generator import StyleGenerator
from labs.run import Run

if TYPE_CHECKING:
    from labs.gan import GanConfig


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
    return kind(config.noise, config.width, config.side)


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
