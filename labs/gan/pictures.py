"""Batches of real pictures for the GAN lab, and random numbers that do not depend on the number of workers."""

from pathlib import Path

import torch
from torch.nn import functional as F

from labs.core import shards
from labs.core.loader import BatchDataset
from labs.core.run import Run
from labs.gan import data

HELD_OUT = 1000
"""Largest held-out set. It has at most a tenth of the faces, or a quarter of the pictures in the other style, which are
fewer."""


class Pictures(BatchDataset):
    """The training set or the held-out set of a split: pictures (3, side, side), -1 to 1."""

    def __init__(self, data_dir: Path, side: int, *, held_out: bool, split: str = "train") -> None:
        (self.images,) = shards.ArrowDataset(data_dir, split, ("image",)).columns
        held = min(HELD_OUT, len(self.images) // (4 if split == data.OTHER_STYLE else 10))
        rows = torch.arange(len(self.images))
        self.rows, self.side = rows[:held] if held_out else rows[held:], side

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images = self.images[self.rows[indices]].float() / 127.5 - 1
        return (F.avg_pool2d(images, data.SIDE // self.side),)


class GlobalRandom:
    """Random numbers of an epoch, drawn for the batch of all workers together: each worker takes the rows of its own
    pictures, so that two workers train like one."""

    def __init__(self, run: Run, epoch: int) -> None:
        self.run, self.generator = run, torch.Generator().manual_seed(run.seed * 100_003 + epoch)

    def normal(self, count: int, width: int) -> torch.Tensor:
        """(count, width) standard normal numbers for this worker's `count` pictures."""
        return self._own_rows(torch.randn(count * self.run.world_size, width, generator=self.generator), count)

    def uniform(self, count: int, width: int) -> torch.Tensor:
        """(count, width) uniform numbers from 0 to 1 for this worker's `count` pictures."""
        return self._own_rows(torch.rand(count * self.run.world_size, width, generator=self.generator), count)

    def _own_rows(self, numbers: torch.Tensor, count: int) -> torch.Tensor:
        return numbers[self.run.rank * count : (self.run.rank + 1) * count].to(self.run.device)
