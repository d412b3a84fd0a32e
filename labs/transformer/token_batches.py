"""Sentences as token ids of the subword vocabulary that `labs.transformer.data` learns, and batches of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from labs.core import shards
from labs.core.loader import BatchDataset, hold_out

PAD, UNK, BOS, EOS, TAG = range(5)
"""Special tokens; `TAG` begins a source that was written by back-translation."""
Pairs = tuple[list[torch.Tensor], list[torch.Tensor]]
"""Sources and their targets, (n,) token ids each."""


class Sentences:
    """Token ids of the sentences of a packed text, such as `train_en`, in memory; of all rows or of `rows` (n,)."""

    def __init__(self, data_dir: Path, name: str, rows: torch.Tensor | None = None) -> None:
        lengths = shards.ArrowDataset(data_dir, name, ("length",)).columns[0].all()
        tokens = shards.ArrowDataset(data_dir, f"{name}_tokens", ("token",)).columns[0].all()
        sentences = tokens.split(lengths.tolist())
        self.token_ids = list(sentences) if rows is None else [sentences[row] for row in rows.tolist()]


def read_pairs(data_dir: Path, validation_fraction: float, seed: int) -> tuple[Pairs, Pairs]:
    """The training pairs, English to Chinese, and the held-out fraction of them for validation."""
    english, chinese = (Sentences(data_dir, name).token_ids for name in ("train_en", "train_zh"))
    held_out, kept = (rows.tolist() for rows in hold_out(len(english), validation_fraction, seed))
    training = [english[row] for row in kept], [chinese[row] for row in kept]
    return training, ([english[row] for row in held_out], [chinese[row] for row in held_out])


class Batch(NamedTuple):
    """Padded sentence pairs."""

    sources: torch.Tensor
    """(B, S) token ids, each sentence followed by `EOS` and then `PAD`."""
    targets: torch.Tensor
    """(B, T) token ids, each sentence between `BOS` and `EOS`, followed by `PAD`."""
    numbers: torch.Tensor
    """(B,) indices of the sentences."""


class TokenBatches(BatchDataset):
    """Batches of sentences of similar length, each batch one sample, so that little is padded.

    Indexed with (A,) numbers it gives the columns of A batches one after another, which `regroup` puts together again.

    Args:
        sources: sentences, (n,) int64 token ids each.
        targets: their translations; None takes the sources in their place where no targets are needed.
        batch_tokens: maximum size of a padded batch in tokens, on either side; a longer sentence is a batch by itself.
        seed: shuffles sentences of equal length.
    """

    def __init__(
        self, sources: list[torch.Tensor], targets: list[torch.Tensor] | None, batch_tokens: int, seed: int = 0
    ) -> None:
        self.sources, self.targets = sources, targets if targets is not None else sources
        order = np.random.default_rng(seed).permutation(len(sources)).tolist()
        lengths = [max(len(a) + 1, len(b) + 2) for a, b in zip(self.sources, self.targets, strict=True)]
        order.sort(key=lambda number: (lengths[number], len(sources[number])))
        self.batches: list[list[int]] = [[]]
        for number in order:
            # Lengths ascend, so this sentence's length would be that of the padded batch.
            if self.batches[-1] and (len(self.batches[-1]) + 1) * lengths[number] > batch_tokens:
                self.batches.append([])
            self.batches[-1].append(number)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        columns: list[torch.Tensor] = []
        for index in indices.tolist():
            columns += self._batch(self.batches[index])
        return tuple(columns)

    def _batch(self, numbers: list[int]) -> Batch:
        bos, eos = torch.tensor([BOS]), torch.tensor([EOS])
        sources = [torch.cat([self.sources[number], eos]) for number in numbers]
        targets = [torch.cat([bos, self.targets[number], eos]) for number in numbers]
        return Batch(
            pad_sequence(sources, batch_first=True, padding_value=PAD),
            pad_sequence(targets, batch_first=True, padding_value=PAD),
            torch.tensor(numbers),
        )


def regroup(columns: Sequence[torch.Tensor]) -> list[Batch]:
    """The batches whose columns `TokenBatches` gives one after another."""
    width = len(Batch._fields)
    return [Batch(*columns[first : first + width]) for first in range(0, len(columns), width)]
