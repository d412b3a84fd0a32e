"""Photographs and drawings as the adaptation lab's network sees them."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from labs.core import shards
from labs.core.loader import BatchDataset

SIDE = 32
"""Pixels of a side that the network sees."""


class Pictures(BatchDataset):
    """Pictures (N, H, W), uint8, in memory or mapped, each with a number: its class, or where it stands."""

    def __init__(self, images: torch.Tensor | shards.Column, numbers: torch.Tensor) -> None:
        self.images, self.numbers = images, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return as_input(self.images[indices]), self.numbers[indices]


def as_input(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W) uint8 -> (B, 1, 32, 32) float, 0 to 1."""
    inputs = images[:, None].float() / 255
    return inputs if inputs.shape[-1] == SIDE else F.interpolate(inputs, (SIDE, SIDE), mode="bilinear")


def photographs(data_dir: Path, thresholds: tuple[float, float] | None) -> Pictures:
    """The labelled photographs in grey (ITU-R 601), or their edges, white on black like the drawings.

    Args:
        thresholds: the weakest gradient (Sobel, of greys 0 to 255) that continues an edge and that starts one; None
            for greys.
    """
    from skimage.feature import canny

    images, labels = (column.all() for column in shards.ArrowDataset(data_dir, "source", ("image", "label")).columns)
    grey = (images.float() @ torch.tensor([0.299, 0.587, 0.114])).round().byte()
    if thresholds:
        # As OpenCV's Canny, which the sample uses, these edges come from the picture as it is, without a blur before.
        edges = [
            canny(image, sigma=0, low_threshold=thresholds[0], high_threshold=thresholds[1]) for image in grey.numpy()
        ]
        grey = torch.from_numpy(np.stack(edges)).byte() * 255
    return Pictures(grey, labels)


def drawings(data_dir: Path) -> Pictures:
    (images,) = shards.ArrowDataset(data_dir, "target", ("image",)).columns
    return Pictures(images, torch.arange(len(images)))


def spread(pictures: Pictures, count: int) -> torch.Tensor:
    """Numbers of at most `count` pictures, evenly spread."""
    return torch.linspace(0, len(pictures) - 1, min(count, len(pictures))).long()
