"""Cross-validation: the labelled images on which each member of an ensemble is trained, and those held out from it."""

from pathlib import Path

import torch

from labs.core import shards
from labs.core.loader import BatchDataset

SPLITS = ("train", "validation")
"""Splits of the packed data that have labels, in the order in which their images are numbered."""
Rows = torch.Tensor
"""Indices of labelled images, int64: the training images first, then the validation images."""


class LabelledImages(BatchDataset):
    """Labelled images at the given rows: one per sample, or one for each member per sample.

    Args:
        data_dir: packed data with the splits `train` and `validation`.
        rows: (count,) or (count, members).
    """

    def __init__(self, data_dir: Path, rows: Rows) -> None:
        splits = [shards.ArrowDataset(data_dir, split, ("image", "label")) for split in SPLITS]
        self.images = shards.Column([chunk for split in splits for chunk in split.columns[0].chunks])
        self.labels = shards.Column([chunk for split in splits for chunk in split.columns[1].chunks])
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Images (B, [members,] 3, side, side) uint8 and labels (B, [members,]) int64."""
        rows = self.rows[indices]
        return tuple(column[rows.flatten()].unflatten(0, rows.shape) for column in (self.images, self.labels))


def split(data_dir: Path, folds: int, seed: int) -> tuple[Rows, list[Rows]]:
    """Rows of each member's training images, (count, members), and of each member's validation images.

    With one fold, the course's own split: train on the training images, validate on the validation images. With more,
    all labelled images are divided into folds at random, stratified by class. Member k trains on all folds but fold k
    and is validated on fold k, so that each image is classified once, by a member that was not trained on it.
    """
    columns = [shards.ArrowDataset(data_dir, split, ("label",)).columns[0] for split in SPLITS]
    labels = torch.cat([column.all() for column in columns])
    if folds == 1:
        training = len(columns[0])
        return torch.arange(training)[:, None], [torch.arange(training, len(labels))]
    # Stratify: shuffle, sort by class, and number the folds 0, 1, 2, ..., 0, 1, 2, ... in that order.
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[by_class] = torch.arange(len(labels)) % folds
    train_rows = [(fold != number).nonzero()[:, 0] for number in range(folds)]
    val_rows = [(fold == number).nonzero()[:, 0] for number in range(folds)]
    # Folds differ in size by at most one image; a member with one image fewer gets its first image twice per epoch.
    count = max(len(rows) for rows in train_rows)
    return torch.stack([rows[torch.arange(count) % len(rows)] for rows in train_rows], 1), val_rows
