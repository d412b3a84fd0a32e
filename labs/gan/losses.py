"""What keeps a discriminator or critic honest: losses, penalties on its slope, and changes of the pictures it sees."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Loss = Literal["bce", "wasserstein", "squares"]
VIEW = 7
"""Random numbers that a view of a picture takes."""


def critic_loss(kind: Loss, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Of logits for real and for generated pictures: cross-entropy (Goodfellow et al.), minus the estimated Wasserstein
    distance (Arjovsky et al.), or squared distances from 1 and 0 (Mao et al., arXiv:1611.04076)."""
    if kind == "bce":
        return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2
    if kind == "squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    return fake.mean() - real.mean()


def generator_loss(kind: Loss, fake: torch.Tensor) -> torch.Tensor:
    """The generated are to be taken for real: the non-saturating form of the cross-entropy, the critic's value, or the
    squared distance from 1."""
    if kind == "squares":
        return (fake - 1).square().mean()
    return F.softplus(-fake).mean() if kind == "bce" else -fake.mean()


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, fake: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """Mean of (|slope| - 1)² at places between real and generated pictures (Gulrajani et al., arXiv:1704.00028).

    Args:
        real, fake: pictures (B, 3, H, W).
        places: (B,) 0 at the generated, 1 at the real picture.
    """
    mixed = torch.lerp(fake, real, places[:, None, None, None]).requires_grad_()
    penalty: torch.Tensor = (_slope(critic, mixed) - 1).square().mean()
    return penalty


def real_penalty(critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor) -> torch.Tensor:
    """Mean of |slope|² at real pictures, R1 (Mescheder et al., arXiv:1801.04406)."""
    penalty: torch.Tensor = _slope(critic, real.detach().requires_grad_()).square().mean()
    return penalty


def clip_weights(critic: nn.Module, limit: float) -> None:
    """Keep every weight within the limit (Arjovsky et al., arXiv:1701.07875)."""
    with torch.no_grad():
        for weight in critic.parameters():
            weight.clamp_(-limit, limit)


def random_view(pictures: torch.Tensor, draws: torch.Tensor, strength: float) -> torch.Tensor:
    """Pictures (B, 3, H, W) brighter or darker, more or less vivid, shifted, and with a square missing; differentiable,
    so that real and generated pictures can both be shown like this (Zhao et al., arXiv:2006.10738).

    Args:
        draws: (B, 7), 0 to 1.
        strength: 0 leaves pictures as they are; at 1 shifts reach an eighth of the side and squares half of it.
    """
    if not strength:
        return pictures
    side = pictures.shape[-1]
    light, vivid, contrast, right, down, x, y = (2 * draws - 1).T[:, :, None, None, None] * strength
    pictures = pictures + light / 2
    grey = pictures.mean(1, keepdim=True)
    pictures = (pictures - grey) * (1 + vivid) + grey
    middle = pictures.mean((1, 2, 3), keepdim=True)
    pictures = (pictures - middle) * (1 + contrast / 2) + middle
    rows, columns = (torch.arange(side, device=pictures.device).view(shape) for shape in ((1, -1, 1), (1, 1, -1)))
    down, right = ((part[:, :, 0] * side / 8).round().long() for part in (down, right))
    shifted_rows, shifted_columns = rows + down, columns + right
    inside = (shifted_rows.clamp(0, side - 1) == shifted_rows) & (shifted_columns.clamp(0, side - 1) == shifted_columns)
    batch = torch.arange(len(pictures), device=pictures.device).view(-1, 1, 1)
    pictures = pictures.permute(0, 2, 3, 1)[batch, shifted_rows.clamp(0, side - 1), shifted_columns.clamp(0, side - 1)]
    far = [(part - (1 + place[:, :, 0] / strength) * side / 2).abs()
           for part, place in ((rows, y), (columns, x))]  # fmt: skip
    kept = inside & ~((far[0] < strength * side / 4) & (far[1] < strength * side / 4))
    seen: torch.Tensor = (pictures * kept[..., None]).permute(0, 3, 1, 2)
    return seen


def _slope(critic: Callable[[torch.Tensor], torch.Tensor], pictures: torch.Tensor) -> torch.Tensor:
    """(B,) lengths of the critic's gradients by each picture, themselves differentiable."""
    (gradient,) = torch.autograd.grad(critic(pictures).sum(), pictures, create_graph=True)
    lengths: torch.Tensor = gradient.flatten(1).norm(dim=1)
    return lengths
