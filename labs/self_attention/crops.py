"""Packed utterances as data sets: random crops for training, whole utterances of similar length for evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from labs.core import shards
from labs.core.loader import BatchDataset

MAX_FRAMES = 8192
"""Frames after which evaluation cuts an utterance: 82 s, more than any of the course's utterances has."""
BATCH_FRAMES = 16384
"""Frames in a padded batch of whole utterances, which bounds memory."""


class Utterances:
    """Memory-mapped utterances of a split, as `labs.self_attention.data.prepare` packs them.

    Args:
        split: `train` or `test`.
        rows: indices of the utterances to use, (n,) int64; all by default.
    """

    def __init__(self, data_dir: Path, split: str, rows: torch.Tensor | None = None) -> None:
        table = shards.ArrowDataset(data_dir, split, ("start", "length"))
        self.rows = torch.arange(len(table)) if rows is None else rows
        self.starts, self.lengths = table[self.rows]
        self.frames = shards.ArrowDataset(data_dir, f"{split}_frames", ("frames",)).columns[0]

    def pad(self, starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Frames (B, longest, mels) float32 from the given first frames (B,) and lengths (B,), padded with zeros."""
        rows = [torch.arange(first, first + n) for first, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
        return pad_sequence(list(self.frames[torch.cat(rows)].float().split(lengths.tolist())), batch_first=True)


class Crops(Utterances, BatchDataset):
    """Training samples: a random crop of each utterance, or the whole utterance where it is shorter.

    Indices (B,) give frames (B, crop, mels), lengths (B,) and labels (B,).

    Args:
        crop: frames of a crop.
    """

    def __init__(self, data_dir: Path, rows: torch.Tensor, crop: int, seed: int) -> None:
        super().__init__(data_dir, "train", rows)
        (self.labels,) = shards.ArrowDataset(data_dir, "train", ("label",))[rows]
        self.crop, self.seed = crop, seed
        self.redraw(0)

    def redraw(self, epoch: int) -> None:
        """Draw the positions of an epoch's crops from (seed, epoch) alone: the same for any number of workers."""
        positions = torch.from_numpy(np.random.default_rng([self.seed, epoch]).random(len(self)))
        self.offsets = (positions * (self.lengths - self.crop + 1).clamp(min=1)).long()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lengths = self.lengths[index].clamp(max=self.crop)
        return self.pad(self.starts[index] + self.offsets[index], lengths), lengths, self.labels[index]


class Buckets(Utterances, BatchDataset):
    """Batches of whole utterances of similar length; each sample is a batch.

    An index (1,) gives frames (B, longest, mels), lengths (B,), and the utterances' indices (B,) within `rows`.
    """

    def __init__(self, data_dir: Path, split: str, rows: torch.Tensor | None = None) -> None:
        super().__init__(data_dir, split, rows)
        self.lengths = self.lengths.clamp(max=MAX_FRAMES)
        self.buckets = bucket(self.lengths.tolist())

    def __len__(self) -> int:
        return len(self.buckets)

    def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        indices = self.buckets[int(index)]
        return self.pad(self.starts[indices], self.lengths[indices]), self.lengths[indices], indices


def spread_crops(
    frames: torch.Tensor, lengths: torch.Tensor, crop: int, count: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Crops of each utterance, evenly spaced over it, with their lengths; shorter utterances are whole in each.

    Args:
        frames: (B, T, mels).
        lengths: (B,) real frames.
        crop: frames of a crop.
        count: number of crops.

    Returns:
        For each crop, frames (B, min(crop, T), mels) and lengths (B,).
    """
    rows = torch.arange(len(frames), device=frames.device)[:, None]
    inside = torch.arange(min(crop, frames.shape[1]), device=frames.device)
    slack = (lengths - crop).clamp(min=0)
    # The slack is divided into equal parts, and each crop begins in the middle of one.
    starts = [(slack * (2 * number + 1)) // (2 * count) for number in range(count)]
    return [(frames[rows, start[:, None] + inside], lengths.clamp(max=crop)) for start in starts]


def bucket(lengths: Sequence[int]) -> list[torch.Tensor]:
    """Indices of the utterances in batches, by length: at most `BATCH_FRAMES` padded frames, or a single utterance."""
    batches: list[list[int]] = [[]]
    # In ascending order, each utterance is the longest of its batch so far, to which the others are padded.
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batches[-1] and (len(batches[-1]) + 1) * lengths[index] > BATCH_FRAMES:
            batches.append([])
        batches[-1].append(index)
    return [torch.tensor(batch) for batch in batches]
