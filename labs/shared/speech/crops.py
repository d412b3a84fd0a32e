"""Packed utterances as batches: random crops to train on, whole utterances of like length to evaluate on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from labs.core import shards
from labs.core.loader import BatchDataset

LONGEST = 8192
"""Frames of an utterance that evaluation looks at, from its first one on: 82 s, more than any of the course's has."""
FRAMES = 16384
"""Frames of a padded batch of whole utterances, which bounds memory."""


class Utterances:
    """Utterances of a split that `labs.self_attention.data.prepare` packed, memory-mapped.

    Args:
        split: `train` or `test`.
        rows: the utterances to take, (n,) int64; all by default.
    """

    def __init__(self, data_dir: Path, split: str, rows: torch.Tensor | None = None) -> None:
        table = shards.ArrowDataset(data_dir, split, ("start", "length"))
        self.rows = torch.arange(len(table)) if rows is None else rows
        self.starts, self.lengths = table[self.rows]
        self.frames = shards.ArrowDataset(data_dir, f"{split}_frames", ("frames",)).columns[0]

    def pad(self, starts: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Stretches of frames, zeros after the shorter ones: (B,) first frames, (B,) -> (B, longest, mels) float32."""
        rows = [torch.arange(first, first + n) for first, n in zip(starts.tolist(), lengths.tolist(), strict=True)]
        return pad_sequence(list(self.frames[torch.cat(rows)].float().split(lengths.tolist())), batch_first=True)


class Crops(Utterances, BatchDataset):
    """Training samples: a stretch of `segment` frames at a random place, or all of a shorter utterance.

    Indexed with (B,) numbers it gives frames (B, segment, mels), lengths (B,) and labels (B,).
    """

    def __init__(self, data_dir: Path, rows: torch.Tensor, segment: int, seed: int) -> None:
        super().__init__(data_dir, "train", rows)
        (self.labels,) = shards.ArrowDataset(data_dir, "train", ("label",))[rows]
        self.segment, self.seed = segment, seed
        self.redraw(0)

    def redraw(self, epoch: int) -> None:
        """Choose the places of an epoch from (seed, epoch) alone: the same for any number of workers."""
        places = torch.from_numpy(np.random.default_rng([self.seed, epoch]).random(len(self)))
        self.offsets = (places * (self.lengths - self.segment + 1).clamp(min=1)).long()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lengths = self.lengths[index].clamp(max=self.segment)
        return self.pad(self.starts[index] + self.offsets[index], lengths), lengths, self.labels[index]


class Buckets(Utterances, BatchDataset):
    """Batches of whole utterances, which differ little in length, as samples of their own.

    Indexed with one number, (1,), it gives frames (B, longest, mels), lengths (B,), and (B,) which of the utterances
    they are, counted within `rows`.
    """

    def __init__(self, data_dir: Path, split: str, rows: torch.Tensor | None = None) -> None:
        super().__init__(data_dir, split, rows)
        self.lengths = self.lengths.clamp(max=LONGEST)
        self.buckets = bucket(self.lengths.tolist())

    def __len__(self) -> int:
        return len(self.buckets)

    def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        which = self.buckets[int(index)]
        return self.pad(self.starts[which], self.lengths[which]), self.lengths[which], which


def bucket(lengths: Sequence[int]) -> list[torch.Tensor]:
    """Numbers of the utterances in batches: sorted by length, each batch of at most `FRAMES` frames when padded, or of
    one utterance."""
    batches: list[list[int]] = [[]]
    for number in sorted(range(len(lengths)), key=lambda i: lengths[i]):  # ascending: the newest one sets the padding
        if batches[-1] and (len(batches[-1]) + 1) * lengths[number] > FRAMES:
            batches.append([])
        batches[-1].append(number)
    return [torch.tensor(batch) for batch in batches]


def split(count: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the utterances to validate on, at least one, and of those to train on, both at random by seed."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = max(1, round(count * share))
    return order[:held_out], order[held_out:]
