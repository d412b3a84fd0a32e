"""Learning rate schedules as functions of the fraction of training that is done, so that resuming needs no state."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook


def warmup_cosine(done: float, warmup: float = 0.1) -> float:
    """Factor of the peak learning rate: linear warm-up from 0.05 to 1, then a cosine from 1 to 0 (arXiv:1608.03983).

    Args:
        done: fraction of the training that is done, 0 to 1.
        warmup: fraction of the training that warms up.
    """
    if done < warmup:
        return 0.05 + 0.95 * done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def learning_rate(peak: float, schedule: Literal["constant", "cosine"], done: float) -> float:
    """The learning rate after the fraction `done` of the training: constant, or `warmup_cosine` of its peak."""
    return peak * (warmup_cosine(done) if schedule == "cosine" else 1.0)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def scaled_rates(factor: float) -> Iterator[None]:
    """While entered, every optimizer of this process steps with `factor` times its learning rates."""
    rates: list[float] = []

    def scale(optimizer: Optimizer, *_: Any) -> None:
        rates[:] = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] *= factor

    def restore(optimizer: Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    hooks = register_optimizer_step_pre_hook(scale), register_optimizer_step_post_hook(restore)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
