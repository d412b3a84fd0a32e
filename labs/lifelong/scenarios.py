"""Sequences of tasks made of one set of digits: what differs from task to task."""

from collections.abc import Sequence

import torch
from torch.utils.data import TensorDataset
from torchvision.transforms.v2 import functional as images_of

from labs.lifelong import data

TASKS = 5
"""Tasks where the angles don't tell: five orders of the pixels, five pairs of digits."""


def names(scenario: str, angles: Sequence[float]) -> list[str]:
    """What each task is called, in the order of learning."""
    if scenario == "rotated":
        return [f"{angle:g}°" for angle in angles]
    if scenario == "permuted":
        return [f"order {number}" for number in range(1, TASKS + 1)]
    return [f"{2 * number}, {2 * number + 1}" for number in range(TASKS)]


def tasks(scenario: str, angles: Sequence[float], images: torch.Tensor, labels: torch.Tensor) -> list[TensorDataset]:
    """All tasks, from upright images (N, 28, 28) uint8 and their labels (N,) int64.

    Args:
        scenario: `rotated`: all digits, turned by each of the angles; `permuted`: all digits, with the pixels in five
            orders, the first the usual one; `class-incremental`: 0 and 1, then 2 and 3, and so on.
        angles: degrees, counter-clockwise; only for `rotated`.
    """
    if scenario == "rotated":
        return [TensorDataset(rotate(images, angle), labels) for angle in angles]
    if scenario == "permuted":
        return [TensorDataset(permute(images, number), labels) for number in range(TASKS)]
    return [TensorDataset(images[labels // 2 == number], labels[labels // 2 == number]) for number in range(TASKS)]


def split(count: int, share: float, seed: int) -> torch.Tensor:
    """Mask of the images held out, (count,): the same images in every task, so that none is trained on turned."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order < max(1, round(count * share))


def rotate(images: torch.Tensor, angle: float) -> torch.Tensor:
    """Images (N, 28, 28) uint8 turned counter-clockwise; by nearest neighbour, so exactly as the course's floats."""
    return torch.cat([images_of.rotate(part, angle) for part in images.split(data.CHUNK)])


def permute(images: torch.Tensor, number: int) -> torch.Tensor:
    """Images (N, 28, 28) with their pixels in an order that depends on the number alone; number 0 leaves them."""
    pixels = data.SIDE**2
    order = torch.randperm(pixels, generator=torch.Generator().manual_seed(number)) if number else torch.arange(pixels)
    return images.flatten(1)[:, order].view_as(images)


def together(parts: Sequence[TensorDataset]) -> TensorDataset:
    """Several tasks' images and labels as one task."""
    return TensorDataset(*(torch.cat(columns) for columns in zip(*(part.tensors for part in parts), strict=True)))
