"""Learning rates as functions of how much of the training is over, so that resuming needs no state."""

import math

from torch.optim import Optimizer


def warmup_cosine(done: float, warmup: float = 0.1) -> float:
    """Factor of the highest rate: linearly up to 1 for the first share `warmup`, then down to 0 on a cosine.

    Args:
        done: share of the training that is over, 0 to 1.
    """
    if done < warmup:
        return 0.05 + 0.95 * done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give all parameters of an optimizer this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
