"""Batches of faces for the GAN lab, and random numbers that go with them."""

from pathlib import Path

import torch
from torch.nn import functional as F

from labs.core import shards
from labs.core.loader import BatchDataset
from labs.core.run import Run
from labs.gan import data

HELD_OUT = 1000
"""Real pictures that validate, at most a tenth of all; in the other style a quarter, as they are few."""


class Faces(BatchDataset):
    """The packed pictures of a split that are held out, or the others: (3, side, side), -1 to 1."""

    def __init__(self, data_dir: Path, side: int, *, held_out: bool, split: str = "train") -> None:
        (self.images,) = shards.ArrowDataset(data_dir, split, ("image",)).columns
        held = min(HELD_OUT, len(self.images) // (4 if split == data.OTHERS else 10))
        rows = torch.arange(len(self.images))
        self.rows, self.side = rows[:held] if held_out else rows[held:], side

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images = self.images[self.rows[numbers]].float() / 127.5 - 1
        return (F.avg_pool2d(images, data.SIDE // self.side),)


class Draws:
    """Random numbers for a global batch, of which each worker takes the rows of its own pictures: so two workers train
    like one."""

    def __init__(self, run: Run, epoch: int) -> None:
        self.run, self.generator = run, torch.Generator().manual_seed(run.seed * 100_003 + epoch)

    def normal(self, count: int, width: int) -> torch.Tensor:
        """(count, width) for this worker's `count` pictures, from a standard normal distribution."""
        return self._own(torch.randn(count * self.run.world_size, width, generator=self.generator), count)

    def uniform(self, count: int, width: int) -> torch.Tensor:
        """(count, width), from 0 to 1."""
        return self._own(torch.rand(count * self.run.world_size, width, generator=self.generator), count)

    def _own(self, numbers: torch.Tensor, count: int) -> torch.Tensor:
        return numbers[self.run.rank * count : (self.run.rank + 1) * count].to(self.run.device)
