"""EMA weights: an exponential moving average of a model's weights over its training steps."""

import torch
from torch import nn


def update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the EMA weights by one step: `w_ema <- decay * w_ema + (1 - decay) * w`.

    Buffers, such as the running statistics of batch norm, are not averaged but copied.

    Args:
        ema: the module that holds the EMA weights; changed in place.
        model: a module of the same structure, with the present weights.
        decay: 0 copies the present weights, 1 keeps the EMA weights.
    """
    with torch.no_grad():
        for average, weight in zip(ema.parameters(), model.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)
        for copied, buffer in zip(ema.buffers(), model.buffers(), strict=True):
            copied.copy_(buffer)
