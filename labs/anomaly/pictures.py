"""The lab's pictures as network input, and synthetic anomalies: normal pictures, corrupted without any other data."""

import math

import torch
from torch.nn import functional as F

from labs.core import shards
from labs.core.loader import BatchDataset

TWIST = math.pi / 2
"""Rotation of the middle of a twisted picture, in radians."""
SHIFT = 8
"""A torn or doubled picture is shifted by its width divided by this."""


class Pictures(BatchDataset):
    """Some rows of packed pictures as the network sees them, (3, H, W) float, -1 to 1, and their row numbers."""

    def __init__(self, images: shards.Column, rows: torch.Tensor) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (network_input(self.images[self.rows[indices]]), self.rows[indices])


def network_input(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float, -1 to 1, as in the sample."""
    # Contiguous: torch 2.14 on CPUs crashes in the gradient of a 1 x 1 convolution by 2 whose input has channels last.
    return images.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)  # in place: batches are large


def synthetic_anomalies(pictures: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """The pictures, each corrupted in a way that depends on its row number alone: twisted, torn or doubled, in turn.

    None of these is a kind of anomaly in the embedded test set (`labs.anomaly.data`): settings that are chosen by
    synthetic anomalies like the hidden ones would fit the test set, not anomalies that nobody knows.

    Args:
        pictures: (B, 3, H, W).
        numbers: row numbers (B,).
    """
    kinds = torch.stack([_twisted(pictures), _torn(pictures), _doubled(pictures)])
    return kinds[numbers.cpu() % len(kinds), torch.arange(len(pictures))]


def _twisted(pictures: torch.Tensor) -> torch.Tensor:
    """The middle turned by `TWIST`, less and less towards the borders."""
    line = torch.linspace(-1, 1, pictures.shape[-1], device=pictures.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle = TWIST * (1 - torch.hypot(x, y)).clamp(min=0)
    turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], 2)
    grid = turned.expand(len(pictures), -1, -1, -1)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=True)


def _torn(pictures: torch.Tensor) -> torch.Tensor:
    """The lower half shifted to the right; what leaves the picture there comes in on the left."""
    height, width = pictures.shape[-2:]
    upper, lower = pictures.split([height // 2, height - height // 2], 2)
    return torch.cat([upper, lower.roll(width // SHIFT, 3)], 2)


def _doubled(pictures: torch.Tensor) -> torch.Tensor:
    """A double exposure: the mean of the picture and of itself, shifted to the right."""
    return (pictures + pictures.roll(pictures.shape[-1] // SHIFT, 3)) / 2
