"""The lab's pictures as network input, and synthetic anomalies: normal pictures, corrupted without any other data."""

import torch

from labs.core import shards
from labs.core.loader import BatchDataset


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
    """The pictures, each corrupted in a way that depends on its row number alone.

    In turn: a patch of the picture pasted elsewhere in it (CutPaste, Li et al., arXiv:2104.04015), left and right
    mirrored, the colour channels permuted.

    Args:
        pictures: (B, 3, H, W).
        numbers: row numbers (B,).
    """
    corrupted = pictures.clone()
    for picture, number in zip(corrupted, numbers.tolist(), strict=True):
        if number % 3 == 0:
            _cut_and_paste(picture, number)
        elif number % 3 == 1:
            picture.copy_(picture.flip(2))
        else:
            picture.copy_(picture.roll(1, 0))
    return corrupted


def _cut_and_paste(picture: torch.Tensor, seed: int) -> None:
    """Copy a square patch, a quarter of the side large, to another place of the picture (3, H, W), in place."""
    side = picture.shape[-1] // 4
    corners = torch.randint(0, 3 * side, (4,), generator=torch.Generator().manual_seed(seed))
    top, left, new_top, new_left = corners.tolist()
    patch = picture[:, top : top + side, left : left + side].clone()
    picture[:, new_top : new_top + side, new_left : new_left + side] = patch
