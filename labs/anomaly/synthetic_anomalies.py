"""Labelled stand-ins for anomalies: normal pictures, damaged in ways that need no other data."""

import torch

from labs.core import shards
from labs.core.loader import BatchDataset


class Normal(BatchDataset):
    """Some rows of packed pictures as the network sees them: (B, 3, H, W) float, -1 to 1."""

    def __init__(self, images: shards.Column, rows: torch.Tensor) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (as_input(self.images[self.rows[indices]]), self.rows[indices])


def as_input(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float, -1 to 1, as in the sample."""
    # Contiguous: torch 2.14 on CPUs crashes in the gradient of a 1 x 1 convolution by 2 whose input has channels last.
    return images.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)  # in place: batches are large


def damaged(pictures: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, H, W) with a fault each, which its number decides alone.

    In turn: a piece of the picture pasted elsewhere in it (CutPaste, Li et al., 2021), left and right exchanged,
    colour channels in another order.
    """
    spoilt = pictures.clone()
    side = pictures.shape[-1] // 4
    for picture, number in zip(spoilt, numbers.tolist(), strict=True):
        if number % 3 == 0:
            places = torch.randint(0, 3 * side, (4,), generator=torch.Generator().manual_seed(number)).tolist()
            top, left, down, right = places
            picture[:, down : down + side, right : right + side] = picture[
                :, top : top + side, left : left + side
            ].clone()
        else:
            picture.copy_(picture.flip(2) if number % 3 == 1 else picture.roll(1, 0))
    return spoilt
