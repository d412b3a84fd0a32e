"""Adversarial training by one step (Wong et al., Fast is better than free, arXiv:2001.03994)."""

import torch
from torch import nn
from torch.nn import functional as F


def harden(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Pictures attacked on the spot: from a random start within epsilon, one step up the loss of the network.

    The step is a quarter longer than epsilon, then cut: without that a network learns to be safe from this very step.

    Args:
        network: pictures -> logits (B, classes), or (networks, B, classes) for an ensemble.
        images: (B, 3, H, W) float, values 0 to 255; epsilon is in the same unit.
    """
    start = epsilon * (2 * torch.rand(images.shape) - 1).to(images.device)  # drawn on the CPU: devices agree
    start.requires_grad_()
    logits = network(images + start).flatten(0, -2)
    loss = F.cross_entropy(logits, labels.repeat(len(logits) // len(labels)))
    step = 1.25 * epsilon * torch.autograd.grad(loss, start)[0].sign()
    change = (start.detach() + step).clamp(-epsilon, epsilon)
    return (images + change).clamp(0, 255)
