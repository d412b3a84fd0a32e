"""The two players of the GAN lab: their networks, their optimizers, and a step of one of them."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from labs.core.ema import update_ema
from labs.core.run import Run
from labs.core.schedule import set_rate
from labs.gan.dcgan import Discriminator, Generator
from labs.gan.losses import VIEW, random_view
from labs.gan.pictures import Draws
from labs.gan.style_generator import StyleGenerator
from labs.gan.translators import Pair, Translator

if TYPE_CHECKING:
    from labs.gan.lesson import GanConfig

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


def every_network(config: "GanConfig") -> Networks | Pair:
    """All that is trained."""
    return Pair(config.width, config.side) if config.generator == "translator" else Networks(config)


def build(config: "GanConfig") -> Generator | StyleGenerator | Translator:
    """What draws the pictures, untrained."""
    if config.generator == "translator":
        return Translator(config.width, config.side)
    kind = Generator if config.generator == "dcgan" else StyleGenerator
    return kind(NOISE, config.width, config.side)


def seen(pictures: torch.Tensor, config: "GanConfig", draws: Draws) -> torch.Tensor:
    """Pictures as the critic sees them."""
    if not config.augment:
        return pictures
    return random_view(pictures, draws.uniform(len(pictures), VIEW), config.augment)


def fixed_noise(config: "GanConfig", count: int, run: Run) -> torch.Tensor:
    """(count, noise): always the same, so that grids show one face as it grows."""
    noise = torch.randn(count, NOISE, generator=torch.Generator().manual_seed(0))
    return (config.truncation * noise).to(run.device)


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


def optimizers(config: "GanConfig", networks: Networks | Pair) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """The generator's and the critic's."""

    def one(part: nn.Module, rate: float) -> torch.optim.Optimizer:
        if config.optimizer == "rmsprop":
            return torch.optim.RMSprop(part.parameters(), rate)
        return torch.optim.Adam(part.parameters(), rate, (config.beta1, config.beta2), fused=True)

    return one(networks.generator, config.lr), one(networks.critic, config.lr_critic)


def set_rates(config: "GanConfig", pair: tuple[torch.optim.Optimizer, torch.optim.Optimizer], epoch: int) -> None:
    """Set an epoch's learning rates: the config's until they begin to fall, by equal parts an epoch."""
    left = (config.epochs - epoch) / config.epochs
    for optimizer, rate in zip(pair, (config.lr, config.lr_critic), strict=True):
        set_rate(optimizer, rate * min(1.0, left / config.fall) if config.fall else rate)


def follow(drawer: nn.Module, generator: nn.Module, decay: float, done: int) -> None:
    """Average the generator's weights into the drawer's after its step number `done`. Young weights are no use: the
    average reaches back over the shorter of all steps and its own span."""
    update_ema(drawer, generator, min(decay, 1 - 1 / (done + 1)))


def step(optimizer: torch.optim.Optimizer, network: nn.Module, loss: torch.Tensor, run: Run) -> None:
    """One step of one player; the other one gets no gradients."""
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    run.sync_gradients(network)
    optimizer.step()
