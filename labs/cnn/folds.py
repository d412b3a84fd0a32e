"""Labelled pictures cut into folds: what each member of an ensemble learns from, and what validates it."""

from pathlib import Path

import torch

from labs.core import shards
from labs.core.loader import BatchDataset

Rows = torch.Tensor
"""Numbers of pictures: the training ones first, after them those to validate."""


class Pictures(BatchDataset):
    """Some of the labelled pictures, as a batch (B,) or, with a picture for each member, (B, members).

    Args:
        data_dir: packed data with the splits `train` and `validation`.
        rows: (count,) or (count, members).
    """

    def __init__(self, data_dir: Path, rows: Rows) -> None:
        parts = [shards.ArrowDataset(data_dir, split, ("image", "label")) for split in ("train", "validation")]
        self.images, self.labels = (
            shards.Column([chunk for part in parts for chunk in part.columns[column].chunks]) for column in (0, 1)
        )
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images (B, [members,] 3, side, side) uint8 and their labels (B, [members,]) int64."""
        rows = self.rows[indices]
        return tuple(column[rows.flatten()].unflatten(0, rows.shape) for column in (self.images, self.labels))


def split(data_dir: Path, folds: int, seed: int) -> tuple[Rows, list[Rows]]:
    """Rows that each member learns from, (count, members), and the rows that validate it, by member.

    One fold is the course's own division: the training pictures train, the validation pictures validate. From two
    on, all pictures are dealt to so many folds, each class evenly; a fold validates the member that has not learnt
    from it, so that each picture is judged once and by a member that has never seen it.
    """
    labels = torch.cat([shards.ArrowDataset(data_dir, part, ("label",)).columns[0].all()
                        for part in ("train", "validation")])  # fmt: skip
    if folds == 1:
        training = shards.manifest(data_dir)["splits"]["train"]
        return torch.arange(training)[:, None], [torch.arange(training, len(labels))]
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    fold = torch.empty_like(labels)
    fold[shuffled[labels[shuffled].argsort(stable=True)]] = torch.arange(len(labels)) % folds
    learning = [(fold != number).nonzero()[:, 0] for number in range(folds)]
    count = max(len(rows) for rows in learning)
    # Folds differ by at most one picture: a member with fewer of them sees its first one twice.
    own = torch.stack([rows[torch.arange(count) % len(rows)] for rows in learning], 1)
    return own, [(fold == number).nonzero()[:, 0] for number in range(folds)]
