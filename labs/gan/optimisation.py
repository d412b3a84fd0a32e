"""Optimizers and learning rates of the GAN lab, the generator's EMA weights and their batch-norm statistics."""

import torch
from torch import nn

from labs.core.ema import update_ema
from labs.core.run import Run
from labs.core.schedule import set_rate
from labs.gan.config import GanConfig
from labs.gan.cyclegan_networks import CycleGan
from labs.gan.networks import Gan


def build_optimizers(config: GanConfig, networks: Gan | CycleGan) -> tuple[torch.optim.Optimizer, ...]:
    """The generator's optimizer and the critic's; with CycleGAN each has two networks."""

    def build(part: nn.Module, rate: float) -> torch.optim.Optimizer:
        if config.optimizer == "rmsprop":
            return torch.optim.RMSprop(part.parameters(), rate)
        return torch.optim.Adam(part.parameters(), rate, (config.beta1, config.beta2), fused=True)

    return build(networks.generator, config.lr), build(networks.critic, config.lr_critic)


def set_learning_rates(config: GanConfig, optimizers: tuple[torch.optim.Optimizer, ...], epoch: int) -> None:
    """Set the learning rates of an epoch: the config's, then, over the last `lr_decay_fraction` of the epochs, a linear
    decay towards 0."""
    remaining = (config.epochs - epoch) / config.epochs
    for optimizer, rate in zip(optimizers, (config.lr, config.lr_critic), strict=True):
        set_rate(optimizer, rate * min(1.0, remaining / config.lr_decay_fraction) if config.lr_decay_fraction else rate)


def optimizer_step(optimizer: torch.optim.Optimizer, network: nn.Module, loss: torch.Tensor, run: Run) -> None:
    """One step of the generator or of the critic. The loss passes through both, but only `network`'s gradients are
    computed; all workers average theirs."""
    optimizer.zero_grad()
    run.backward(loss, inputs=list(network.parameters()))
    run.sync_gradients(network)
    run.step(optimizer)


def update_ema_generator(ema_generator: nn.Module, generator: nn.Module, decay: float, step: int) -> None:
    """Update the EMA weights after the generator's step number `step`, counted from 1.

    The decay grows from 1/2 to the config's: early weights, which are of no use, are soon forgotten.
    """
    # w_ema <- d * w_ema + (1 - d) * w with d = min(decay, 1 - 1 / (step + 1))
    update_ema(ema_generator, generator, min(decay, 1 - 1 / (step + 1)))


def recalibrate_batch_norm(generator: nn.Module, noise: torch.Tensor) -> None:
    """Compute a generator's batch-norm statistics anew.

    EMA weights need it: the statistics that were copied beside them belong to the weights that they average, whose
    feature maps vary more, so that pictures would lose contrast.

    Args:
        generator: in training mode.
        noise: (N, NOISE_DIM).
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches instead of a moving average
    with torch.no_grad():
        for part in noise.split(200):
            generator(part)
