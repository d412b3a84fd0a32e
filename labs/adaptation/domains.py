"""The two domains as the network gets them: photographs (source) and drawings (target), grey, 32 x 32."""

from pathlib import Path

import torch
from torch.nn import functional as F

from labs.adaptation.canny import canny
from labs.core import shards
from labs.core.loader import BatchDataset

SIDE = 32
"""Pixels of a side of the network's input."""


class Images(BatchDataset):
    """Grey images (N, H, W), uint8, in memory or memory-mapped, each with a number: its label or its index."""

    def __init__(self, images: torch.Tensor | shards.Column, numbers: torch.Tensor) -> None:
        self.images, self.numbers = images, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Inputs (B, 1, 32, 32) float and their numbers (B,) int64."""
        return as_input(self.images[indices]), self.numbers[indices]


def as_input(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W) uint8 -> (B, 1, 32, 32) float, 0 to 1."""
    inputs = images[:, None].float() / 255
    return inputs if inputs.shape[-1] == SIDE else F.interpolate(inputs, (SIDE, SIDE), mode="bilinear")


def photographs(data_dir: Path, thresholds: tuple[float, float] | None) -> Images:
    """The source domain: photographs with their labels, in grey or as Canny edges, white on black like the drawings.

    Args:
        thresholds: Canny's low and high threshold, of |gx| + |gy| of grey values 0 to 255; None for grey images.
    """
    images, labels = (column.all() for column in shards.ArrowDataset(data_dir, "source", ("image", "label")).columns)
    grey = (images.float() @ torch.tensor([0.299, 0.587, 0.114])).round().byte()  # luma of ITU-R BT.601
    if thresholds:
        grey = canny(grey, *thresholds).byte() * 255
    return Images(grey, labels)


def drawings(data_dir: Path) -> Images:
    """The target domain: drawings with their indices, as they have no labels."""
    (images,) = shards.ArrowDataset(data_dir, "target", ("image",)).columns
    return Images(images, torch.arange(len(images)))


def evenly_spaced(images: Images, count: int) -> torch.Tensor:
    """Indices of at most `count` images, evenly spaced over the data set."""
    return torch.linspace(0, len(images) - 1, min(count, len(images))).long()


def random_indices(images: Images, count: int) -> torch.Tensor:
    """Indices of at most `count` images, drawn without replacement, the same in every call."""
    return torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
