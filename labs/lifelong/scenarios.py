"""Sequences of tasks made from one set of digits; the scenario says how the tasks differ."""

from collections.abc import Sequence

import torch
from torch.utils.data import TensorDataset

from labs.lifelong.data import CHUNK, SIDE

TASKS = 5
"""Tasks of the scenarios without angles: five permutations of the pixels, five pairs of digits."""


def task_names(scenario: str, angles: Sequence[float]) -> list[str]:
    """The tasks' names in figures and tables, in the order of learning."""
    if scenario == "rotated":
        return [f"{angle:g}°" for angle in angles]
    if scenario == "permuted":
        return [f"order {number}" for number in range(1, TASKS + 1)]
    return [f"{2 * number}, {2 * number + 1}" for number in range(TASKS)]


def make_tasks(
    scenario: str, angles: Sequence[float], images: torch.Tensor, labels: torch.Tensor
) -> list[TensorDataset]:
    """All tasks, from upright images (N, 28, 28) uint8 and their labels (N,) int64.

    Args:
        scenario: `rotated`: all digits, rotated by each of the angles; `permuted`: all digits, with five permutations
            of the pixels, the first one the identity; `class-incremental`: 0 and 1, then 2 and 3, and so on.
        angles: degrees, counter-clockwise; only for `rotated`.
    """
    if scenario == "rotated":
        return [TensorDataset(rotate(images, angle), labels) for angle in angles]
    if scenario == "permuted":
        return [TensorDataset(permute(images, number), labels) for number in range(TASKS)]
    return [TensorDataset(images[labels // 2 == number], labels[labels // 2 == number]) for number in range(TASKS)]


def held_out_mask(count: int, fraction: float, seed: int) -> torch.Tensor:
    """Mask (count,) of the held-out images: the same in every task, so that no task trains on any of them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order < max(1, round(count * fraction))


def rotate(images: torch.Tensor, angle: float) -> torch.Tensor:
    """Images (N, 28, 28) uint8 rotated counter-clockwise.

    The nearest neighbour is taken, so that the bytes are exactly those of the course, which rotates floats.
    """
    from torchvision.transforms.v2 import functional as transforms  # 2 s to import

    return torch.cat([transforms.rotate(chunk, angle) for chunk in images.split(CHUNK)])


def permute(images: torch.Tensor, number: int) -> torch.Tensor:
    """Images (N, 28, 28) with their pixels in the permutation of this number; number 0 is the identity."""
    pixels = SIDE**2
    order = torch.randperm(pixels, generator=torch.Generator().manual_seed(number)) if number else torch.arange(pixels)
    return images.flatten(1)[:, order].view_as(images)


def concatenated(datasets: Sequence[TensorDataset]) -> TensorDataset:
    """The images and labels of several tasks as one task."""
    columns = zip(*(dataset.tensors for dataset in datasets), strict=True)
    return TensorDataset(*(torch.cat(tensors) for tensors in columns))
