"""Changed views of line drawings and edges: turned, mirrored, moved, and partly erased."""

import math

import torch
from torch.nn import functional as F

from labs.shared.vision.augmentation import holes, uniform


def view(
    images: torch.Tensor, degrees: torch.Tensor, mirror: torch.Tensor, zoom: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """Each picture changed in its own way; what comes in from outside is black.

    Args:
        images: (B, 1, H, W).
        degrees: (B,) of turning.
        mirror: (B,), -1 to mirror, else 1.
        zoom: (B,), above 1 for a larger thing.
        shift: (B, 2), in halves of the picture.
    """
    c, s = torch.cos(degrees * math.pi / 180) / zoom, torch.sin(degrees * math.pi / 180) / zoom
    rows = torch.stack([mirror * c, -s, shift[:, 0], mirror * s, c, shift[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def random_view(images: torch.Tensor, turn: float, strength: float) -> torch.Tensor:
    """Mirrored or not, turned by up to `turn` degrees; by `strength` zoomed, moved and a rectangle of it erased."""
    count = len(images)
    mirror = torch.where(uniform(images, 0, 1, count) < 0.5, -1.0, 1.0)
    zoom = torch.exp(strength * uniform(images, -0.25, 0.25, count))
    shift = strength * uniform(images, -0.15, 0.15, count, 2)
    images = view(images, uniform(images, -turn, turn, count), mirror, zoom, shift)
    return images.masked_fill(holes(images, strength), 0.0) if strength else images


def second_view(images: torch.Tensor) -> torch.Tensor:
    """Mirrored, turned by 10 degrees and a tenth smaller: always the same change."""
    one = torch.ones(len(images))
    return view(images, 10 * one, -one, 0.9 * one, torch.zeros(len(images), 2))
