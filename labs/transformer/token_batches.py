"""Sentences as numbers of pieces (`labs.transformer.data` learns which there are), and batches of like length."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from labs.core import shards
from labs.core.loader import BatchDataset

PAD, UNK, BOS, EOS, TAG = range(5)
"""Pieces with a meaning of their own; `TAG` begins a source sentence that a model has written."""
Pairs = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Sources and their translations, (n,) piece numbers each."""


class Sentences:
    """Piece numbers of a packed text, `train_en` and the like, of the rows (n,) or of all, in memory."""

    def __init__(self, data_dir: Path, name: str, rows: torch.Tensor | None = None) -> None:
        lengths = shards.ArrowDataset(data_dir, name, ("length",)).columns[0].all()
        pieces = shards.ArrowDataset(data_dir, f"{name}_pieces", ("piece",)).columns[0].all()
        lines = pieces.split(lengths.tolist())
        self.pieces = list(lines) if rows is None else [lines[row] for row in rows.tolist()]


class Batches(BatchDataset):
    """Batches of sentences of like length as samples of their own: each is `tokens` pieces or fewer when padded.

    Indexed with (A,) numbers it gives A times: sources (B, S) and targets (B, T), each with `EOS` at the end, targets
    with `BOS` in front as well, `PAD` behind, and (B,) which sentences they are.

    Args:
        sources: sentences, (n,) int64 each.
        targets: their translations; the sources themselves where there are none.
        seed: shuffles sentences of like length anew.
    """

    def __init__(
        self, sources: list[torch.Tensor], targets: list[torch.Tensor] | None, tokens: int, seed: int = 0
    ) -> None:
        self.sources, self.targets = sources, targets if targets is not None else sources
        order = np.random.default_rng(seed).permutation(len(sources)).tolist()
        longest = [max(len(a) + 1, len(b) + 2) for a, b in zip(self.sources, self.targets, strict=True)]
        self.batches: list[list[int]] = [[]]
        for number in sorted(
            order, key=lambda i: (longest[i], len(sources[i]))
        ):  # ascending: the newest one sets the padding
            if self.batches[-1] and (len(self.batches[-1]) + 1) * longest[number] > tokens:
                self.batches.append([])
            self.batches[-1].append(number)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(part for number in index.tolist() for part in self._batch(self.batches[number]))

    def _batch(self, numbers: list[int]) -> tuple[torch.Tensor, ...]:
        bos, eos = torch.tensor([BOS]), torch.tensor([EOS])
        sources = [torch.cat([self.sources[i], eos]) for i in numbers]
        targets = [torch.cat([bos, self.targets[i], eos]) for i in numbers]
        padded = [pad_sequence(part, batch_first=True, padding_value=PAD) for part in (sources, targets)]
        return *padded, torch.tensor(numbers)
