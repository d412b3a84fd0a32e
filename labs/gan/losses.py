"""Losses of generator and critic, and what bounds the critic's gradient: two penalties and weight clipping.

D(x) is the critic's output for a picture x, a logit or an unbounded score: no network here ends with a sigmoid.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Loss = Literal["bce", "wasserstein", "least-squares"]
Critic = Callable[[torch.Tensor], torch.Tensor]
"""Pictures (B, 3, H, W) -> scores (B,) or, of patches, (B, 1, h, w)."""


def critic_loss(kind: Loss, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The critic's loss; its sign is such that the critic minimises it.

    Args:
        kind: `bce` (Goodfellow et al., arXiv:1406.2661), `wasserstein` (Arjovsky et al., arXiv:1701.07875) or
            `least-squares` (Mao et al., arXiv:1611.04076).
        real: D(x), the critic's outputs for real pictures.
        fake: D(G(z)), its outputs for generated ones, of the same shape.
    """
    if kind == "bce":
        # L_D = -(E[log sigmoid(D(x))] + E[log(1 - sigmoid(D(G(z))))]) / 2, and softplus(-a) = -log sigmoid(a)
        return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
    if kind == "least-squares":
        # L_D = (E[(D(x) - 1)^2] + E[D(G(z))^2]) / 2
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    # L_D = E[D(G(z))] - E[D(x)]; -L_D estimates the Wasserstein distance
    return fake.mean() - real.mean()


def generator_loss(kind: Loss, fake: torch.Tensor) -> torch.Tensor:
    """The generator's loss, of D(G(z)), the critic's outputs for generated pictures; see `critic_loss`."""
    if kind == "bce":
        # L_G = -E[log sigmoid(D(G(z)))], the non-saturating form of the minimax game's E[log(1 - sigmoid(D(G(z))))]
        return F.softplus(-fake).mean()
    if kind == "least-squares":
        # L_G = E[(D(G(z)) - 1)^2]
        return (fake - 1).square().mean()
    # L_G = -E[D(G(z))]
    return -fake.mean()


def gradient_penalty(
    critic: Critic, real: torch.Tensor, fake: torch.Tensor, interpolation: torch.Tensor
) -> torch.Tensor:
    """WGAN-GP's penalty, `E[(||grad D(x_hat)||_2 - 1)^2]` (Gulrajani et al., arXiv:1704.00028).

    Args:
        critic: D.
        real: pictures x (B, 3, H, W).
        fake: generated pictures (B, 3, H, W).
        interpolation: the weights of the real pictures (B,), from 0 to 1: 0 is the generated, 1 the real picture.
    """
    # x_hat = t * x + (1 - t) * G(z)
    x_hat = torch.lerp(fake, real, interpolation[:, None, None, None]).requires_grad_()
    penalty: torch.Tensor = (_gradient_norm(critic, x_hat) - 1).square().mean()
    return penalty


def r1_penalty(critic: Critic, real: torch.Tensor) -> torch.Tensor:
    """R1, `E[||grad D(x)||_2^2]` at real pictures x (B, 3, H, W) (Mescheder et al., arXiv:1801.04406)."""
    penalty: torch.Tensor = _gradient_norm(critic, real.detach().requires_grad_()).square().mean()
    return penalty


def clip_weights(critic: nn.Module, limit: float) -> None:
    """Clip every weight to [-limit, limit], as the first WGAN does (Arjovsky et al., arXiv:1701.07875)."""
    with torch.no_grad():
        for weight in critic.parameters():
            weight.clamp_(-limit, limit)


def _gradient_norm(critic: Critic, pictures: torch.Tensor) -> torch.Tensor:
    """||grad D(x)||_2 of each picture x, (B,); `create_graph` makes it differentiable by the critic's weights."""
    (gradient,) = torch.autograd.grad(critic(pictures).sum(), pictures, create_graph=True)
    norms: torch.Tensor = gradient.flatten(1).norm(dim=1)
    return norms
