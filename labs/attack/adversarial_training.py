"""Adversarial training with one-step attacks (Wong et al., Fast is better than free, arXiv:2001.03994)."""

import torch
from torch import nn
from torch.nn import functional as F


def random_start_fgsm(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Adversarial examples to train the network on: FGSM with a random start.

    Adversarial training is min_theta E[max_{||delta||_inf <= epsilon} L(theta, x + delta, y)]; this one step
    approximates the inner maximum.

    Args:
        network: pictures -> logits (B, classes), or (networks, B, classes) for an ensemble.
        images: x, (B, 3, H, W) float, values 0 to 255.
        labels: y, (B,).
        epsilon: largest change of a value, in the same unit.

    Returns:
        x + delta, (B, 3, H, W).
    """
    # delta ~ Uniform(-epsilon, epsilon), drawn on the CPU so that all devices have the same numbers
    delta = epsilon * (2 * torch.rand(images.shape) - 1).to(images.device)
    delta.requires_grad_()
    logits = network(images + delta).flatten(0, -2)
    loss = F.cross_entropy(logits, labels.repeat(len(logits) // len(labels)))
    # delta <- clip(delta + alpha * sign(grad_delta L)), alpha = 1.25 epsilon. With a shorter step a network can become
    # robust to this one step and to nothing else (catastrophic overfitting).
    step = 1.25 * epsilon * torch.autograd.grad(loss, delta)[0].sign()
    delta = (delta.detach() + step).clamp(-epsilon, epsilon)
    return (images + delta).clamp(0, 255)
