"""Augmented views of line drawings and edge images: rotated, mirrored, shifted, and partly erased."""

import math

import torch
from torch.nn import functional as F

from labs.shared.vision.augmentation import holes, uniform


def affine_view(
    images: torch.Tensor, degrees: torch.Tensor, mirror: torch.Tensor, zoom: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """Images (B, 1, H, W), each under an affine map of its own; black where the map leaves the image.

    Args:
        images: (B, 1, H, W).
        degrees: (B,) of rotation.
        mirror: (B,), -1 to mirror, else 1.
        zoom: (B,), above 1 to enlarge.
        shift: (B, 2), in halves of a side.
    """
    c, s = torch.cos(degrees * math.pi / 180) / zoom, torch.sin(degrees * math.pi / 180) / zoom
    rows = torch.stack([mirror * c, -s, shift[:, 0], mirror * s, c, shift[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def random_view(images: torch.Tensor, rotation: float, strength: float) -> torch.Tensor:
    """Augment each image: mirror half of them, rotate by up to `rotation` degrees; zoom, shift and erase a rectangle.

    Args:
        images: (B, 1, H, W).
        rotation: largest angle in degrees.
        strength: of zoom, shift and erasing; 0 for none.
    """
    count = len(images)
    mirror = torch.where(uniform(images, 0, 1, count) < 0.5, -1.0, 1.0)
    zoom = torch.exp(strength * uniform(images, -0.25, 0.25, count))
    shift = strength * uniform(images, -0.15, 0.15, count, 2)
    images = affine_view(images, uniform(images, -rotation, rotation, count), mirror, zoom, shift)
    return images.masked_fill(holes(images, strength), 0.0) if strength else images


def fixed_view(images: torch.Tensor) -> torch.Tensor:
    """The same view of every image: mirrored, rotated by 10 degrees and a tenth smaller."""
    one = torch.ones(len(images))
    return affine_view(images, 10 * one, -one, 0.9 * one, torch.zeros(len(images), 2))
