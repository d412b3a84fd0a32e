"""State of a network's training, with the average of its weights over the last epochs, and the label-smoothed loss."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.optim import AdamW

from labs.core.run import Run
from labs.core.weights import unwrap
from labs.transformer.networks import Network
from labs.transformer.token_batches import PAD


class TrainingState:
    """A new network on this worker's device, its optimizer (the sample's AdamW), and `averaged`, a second network with
    the mean of the weights at the ends of the last epochs (Vaswani et al., arXiv:1706.03762, section 6.1).

    Args:
        make: builds the network.
        run: has the device.
        weight_decay: of AdamW.
        averaged_epochs: epochs whose weights are averaged.
    """

    def __init__(self, make: Callable[[], Network], run: Run, weight_decay: float, averaged_epochs: int) -> None:
        self.model = run.wrap(make())
        self.averaged = make().to(run.device)
        self.optimizer = AdamW(self.model.parameters(), betas=(0.9, 0.98), eps=1e-9, weight_decay=weight_decay)
        self.epoch_weights: deque[dict[str, torch.Tensor]] = deque(maxlen=averaged_epochs)
        self.gradient_norms: list[float] = []
        """Norm of the gradient at each step so far, before clipping."""

    def end_epoch(self, gradient_norms: torch.Tensor) -> None:
        """Update `averaged` with the present weights, and record the gradient norms of the epoch's steps, (n,)."""
        self.gradient_norms += gradient_norms.tolist()
        self.epoch_weights.append(
            {name: weight.detach().clone() for name, weight in unwrap(self.model).state_dict().items()}
        )
        self._average()

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": unwrap(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch_weights": list(self.epoch_weights),
            "gradient_norms": self.gradient_norms,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        unwrap(self.model).load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = next(self.averaged.parameters()).device
        for weights in state["epoch_weights"]:
            self.epoch_weights.append({name: weight.to(device) for name, weight in weights.items()})
        self.gradient_norms = list(state["gradient_norms"])
        if self.epoch_weights:
            self._average()

    def _average(self) -> None:
        """averaged = 1/E * sum over the last E epochs of their weights."""
        names = self.epoch_weights[0]
        means = {name: torch.stack([weights[name] for weights in self.epoch_weights]).mean(0) for name in names}
        self.averaged.load_state_dict(means)


def smoothed_loss(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Label-smoothed cross-entropy (Szegedy et al., arXiv:1512.00567), summed over all tokens but `PAD`.

    Args:
        logits: (B, T, V) over a vocabulary of V tokens.
        targets: (B, T) token ids.
        smoothing: fraction e of the target distribution that is spread evenly over the vocabulary.
    """
    # L = sum over tokens of -(1 - e) * log p(target) - e * (1/V) * sum over v of log p(v)
    return F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing
    )
