"""Few-shot tasks: those drawn from a set of characters, and the test set's."""

from pathlib import Path

import numpy as np
import torch

from labs.core import shards
from labs.core.loader import BatchDataset
from labs.meta.data import PARTS, WAYS


def split(data_dir: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Characters to train on, and every fifth, which is held out; (characters, drawings, 28, 28) uint8 each."""
    images = shards.ArrowDataset(data_dir, "train", ("image",)).columns[0].all()
    held_out = torch.arange(len(images)) % 5 == 4
    return images[~held_out], images[held_out]


def stored_tasks(data_dir: Path) -> torch.Tensor:
    """The test set's tasks, support before query: (T, 10, 28, 28) uint8."""
    return torch.cat([column.all() for column in shards.ArrowDataset(data_dir, "test", PARTS).columns], 1)


class Tasks(BatchDataset):
    """Tasks of five characters: one drawing of each to learn from (support), another one to be asked (query).

    Item n is always the same task, drawn by a generator of its own: so workers draw one global batch between them, and
    a continued training goes on with the tasks that would have come.

    Args:
        images: (characters, drawings, 28, 28) uint8.
        seed: other seeds give other tasks.
        length: tasks in an epoch.
        pool: how many different tasks there are; 0 for no limit.
        turned: share of the characters that come turned by quarters or mirrored, both drawings alike: classes that no
            alphabet has.
        fixed: every task has the first five characters, in their order.
    """

    def __init__(
        self, images: torch.Tensor, seed: int, length: int, *, pool: int = 0, turned: float = 0.0,
        fixed: bool = False,
    ) -> None:  # fmt: skip
        self.images, self.seed, self.length = images.numpy(), seed, length
        self.pool, self.turned, self.fixed = pool, turned, fixed
        self.first = 0
        """Number of the epoch's first task."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Support and query, each (B, 5, 28, 28) uint8; image i of either has label i."""
        numbers = indices + self.first
        pairs = torch.from_numpy(np.stack([self._draw(n) for n in (numbers % self.pool if self.pool else numbers)]))
        return pairs[:, 0], pairs[:, 1]

    def all(self) -> torch.Tensor:
        """An epoch's tasks, support before query: (length, 10, 28, 28)."""
        return torch.cat(self[torch.arange(self.length)], 1)

    def _draw(self, number: torch.Tensor) -> np.ndarray:
        """(2, 5, 28, 28): two different drawings of each character."""
        count, drawings = self.images.shape[:2]
        rng = np.random.default_rng([self.seed, int(number)])
        classes = np.arange(WAYS) if self.fixed else rng.choice(count, WAYS, replace=False)
        one = rng.integers(drawings, size=WAYS)
        other = (one + rng.integers(1, drawings, size=WAYS)) % drawings
        pair = np.stack([self.images[classes, one], self.images[classes, other]])
        symmetries = np.where(rng.random(WAYS) < self.turned, rng.integers(8, size=WAYS), 0)
        return np.stack([moved(pair[:, way], symmetry) for way, symmetry in enumerate(symmetries)], 1)


def moved(images: np.ndarray, symmetry: int) -> np.ndarray:
    """Images (..., side, side) under one of a square's eight symmetries: 0 to 3 quarter turns, from 4 on mirrored."""
    turned = np.rot90(images, symmetry % 4, (-2, -1))
    return turned[..., ::-1] if symmetry >= 4 else turned
