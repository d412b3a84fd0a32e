"""Few-shot tasks: those sampled from a set of characters, and the test set's."""

from pathlib import Path

import numpy as np
import torch

from labs.core import shards
from labs.core.loader import BatchDataset
from labs.meta.data import PARTS, WAYS


def split(data_dir: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The characters to train on, and every fifth, which is held out; (characters, drawings, 28, 28) uint8 each."""
    images = shards.ArrowDataset(data_dir, "train", ("image",)).columns[0].all()
    held_out = torch.arange(len(images)) % 5 == 4
    return images[~held_out], images[held_out]


def stored_tasks(data_dir: Path) -> torch.Tensor:
    """The test set's tasks, support before query: (T, 10, 28, 28) uint8."""
    return torch.cat([column.all() for column in shards.ArrowDataset(data_dir, "test", PARTS).columns], 1)


class Tasks(BatchDataset):
    """Tasks of five characters, with one drawing of each in the support set and another one in the query set.

    Item n is always the same task, sampled by a random generator of its own. Several workers can therefore sample the
    parts of one global batch, and a continued training sees the tasks of an undisturbed one.

    Args:
        images: (characters, drawings, 28, 28) uint8.
        seed: another seed gives other tasks.
        length: tasks in an epoch.
        pool: number of different tasks; 0 for no limit.
        augment: fraction of the characters whose two drawings are transformed by one of the square's eight symmetries:
            new classes, which no alphabet has (Santoro et al., arXiv:1605.06065).
        fixed: every task has the first five characters, in their order.
    """

    def __init__(
        self, images: torch.Tensor, seed: int, length: int, *, pool: int = 0, augment: float = 0.0,
        fixed: bool = False,
    ) -> None:  # fmt: skip
        self.images, self.seed, self.length = images.numpy(), seed, length
        self.pool, self.augment, self.fixed = pool, augment, fixed
        self.first_task = 0
        """Number of the epoch's first task."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Support and query, each (B, 5, 28, 28) uint8; image i of either has label i."""
        numbers = indices + self.first_task
        if self.pool:
            numbers = numbers % self.pool
        tasks = torch.from_numpy(np.stack([self._sample(int(number)) for number in numbers]))
        return tasks[:, 0], tasks[:, 1]

    def all(self) -> torch.Tensor:
        """An epoch's tasks, support before query: (length, 10, 28, 28)."""
        return torch.cat(self[torch.arange(self.length)], 1)

    def _sample(self, number: int) -> np.ndarray:
        """(2, 5, 28, 28): two different drawings of each character."""
        count, drawings = self.images.shape[:2]
        rng = np.random.default_rng([self.seed, number])
        classes = np.arange(WAYS) if self.fixed else rng.choice(count, WAYS, replace=False)
        support = rng.integers(drawings, size=WAYS)
        query = (support + rng.integers(1, drawings, size=WAYS)) % drawings
        pair = np.stack([self.images[classes, support], self.images[classes, query]])
        symmetries = np.where(rng.random(WAYS) < self.augment, rng.integers(8, size=WAYS), 0)
        return np.stack([transformed(pair[:, way], symmetry) for way, symmetry in enumerate(symmetries)], 1)


def transformed(images: np.ndarray, symmetry: int) -> np.ndarray:
    """Images (..., side, side) under one of a square's eight symmetries: `symmetry % 4` quarter turns, then, from 4 on,
    a reflection."""
    rotated = np.rot90(images, symmetry % 4, (-2, -1))
    return rotated[..., ::-1] if symmetry >= 4 else rotated
