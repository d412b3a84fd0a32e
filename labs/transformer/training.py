"""A network in training, with the mean of its weights over the last epochs, and its loss."""

from collections import deque
from collections.abc import Callable
from typing import Any, cast

import torch
from torch.nn import functional as F
from torch.optim import AdamW

from labs.core.run import Run
from labs.core.weights import unwrap
from labs.transformer.networks import Network
from labs.transformer.token_batches import PAD


class Learner:
    """A fresh network on this worker's device, its optimizer (the sample's AdamW), and its smoother self, `mean`, with
    the mean weights of the last epochs (Vaswani et al., arXiv:1706.03762, average their last checkpoints).

    Args:
        make: gives a network.
        average: epochs whose weights are averaged.
    """

    def __init__(self, make: Callable[[], Network], run: Run, weight_decay: float, average: int) -> None:
        # What `wrap` adds for several workers is done once a step, not once a batch.
        self.model = cast(Network, unwrap(run.wrap(make())))
        self.mean = make().to(run.device)
        self.optimizer = AdamW(self.model.parameters(), betas=(0.9, 0.98), eps=1e-9, weight_decay=weight_decay)
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


def smoothed_loss(logits: torch.Tensor, target: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Sum over all real pieces of the cross-entropy with a target that gives `smoothing` away to all pieces evenly.

    Args:
        logits: (B, T, pieces).
        target: (B, T) piece numbers.
    """
    return F.cross_entropy(
        logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing
    )
