"""A network in training, with the mean of its weights over the last epochs."""

from collections import deque
from typing import Any

import torch
from torch.optim import Optimizer

from labs.nn.translation import Network


class Learner:
    """What has to be saved of a network in training, and its smoother self.

    Args:
        model: the network that is trained, on its device.
        mean: a network of the same kind that takes the mean weights (Vaswani et al., arXiv:1706.03762, average their
            last checkpoints).
        optimizer: of the model's parameters.
        average: epochs whose weights are averaged.
    """

    def __init__(self, model: Network, mean: Network, optimizer: Optimizer, average: int) -> None:
        self.model, self.mean, self.optimizer = model, mean, optimizer
        self.recent: deque[dict[str, torch.Tensor]] = deque(maxlen=average)
        self.norms: list[float] = []
        """Norm of the gradient at each step so far."""

    def remember(self, norms: torch.Tensor) -> None:
        """Take the weights of an epoch's end into the mean, and the norms of its steps, (n,), into the record."""
        self.norms += norms.tolist()
        self.recent.append({name: weight.detach().clone() for name, weight in self.model.state_dict().items()})
        self._average()

    def state_dict(self) -> dict[str, Any]:
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**parts, "recent": list(self.recent), "norms": self.norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = next(self.mean.parameters()).device
        self.recent.extend({name: weight.to(device) for name, weight in past.items()} for past in state["recent"])
        self.norms = list(state["norms"])
        if self.recent:
            self._average()

    def _average(self) -> None:
        names = self.recent[0]
        self.mean.load_state_dict({name: torch.stack([past[name] for past in self.recent]).mean(0) for name in names})
