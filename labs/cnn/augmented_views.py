"""Test-time augmentation: the mean prediction over augmented copies of an image."""

from collections.abc import Callable

import torch

from labs.shared.vision.augmentation import augment


def mean_probabilities(
    logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, views: int, size: int, strength: float
) -> torch.Tensor:
    """1/V sum_v softmax(logits(augment_v(x))), (B, classes).

    All images, in all calls, get the same augmentations, so that a prediction does not depend on the rest of its batch.

    Args:
        logits: images (B, 3, size, size) -> logits (B, classes).
        images: (B, 3, H, W), values 0 to 255.
        views: number of augmented copies V, at least 1.
        size: height and width of the copies, in pixels.
        strength: strength of the augmentation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        total = torch.zeros((), device=images.device)
        for _ in range(views):
            total = total + logits(augment(images, size, strength, alike=True)).softmax(1)
    return total / views
