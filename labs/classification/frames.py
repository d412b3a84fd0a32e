"""Packed utterances as data sets: single frames with their neighbours, or whole utterances in padded batches."""

from pathlib import Path

import torch

from labs.core import shards
from labs.core.loader import BatchDataset

PAD = -100
"""Label of padded frames; `cross_entropy` ignores it (`ignore_index`)."""


class Corpus:
    """All frames of a split on `device`, 430 MB at the course's size, and each utterance's first frame and length.

    Args:
        data_dir: packed data, as `labs.classification.data.prepare` writes it.
        split: `train` or `test`; the labels of `test` are all 0.
    """

    def __init__(self, data_dir: Path, split: str, device: torch.device) -> None:
        columns = ("frame", "label") if split == "train" else ("frame",)
        self.frames, *labels = (
            column.all().to(device) for column in shards.ArrowDataset(data_dir, split, columns).columns
        )
        self.labels = labels[0] if labels else torch.zeros(len(self.frames), dtype=torch.long, device=device)
        lengths = shards.ArrowDataset(data_dir, f"{split}_utterances", ("length",)).columns[0].all()
        self.lengths = lengths.to(device)
        self.first = self.lengths.cumsum(0) - self.lengths


def window(frame: torch.Tensor, first: torch.Tensor, last: torch.Tensor, context: int) -> torch.Tensor:
    """Indices (..., context) of the frames around each frame; an utterance's first and last frame repeat at its edges.

    Windows are gathered by index for one batch at a time. Storing them for all frames, as the sample code does, takes
    `context` times the memory.

    Args:
        frame: (...) index of the middle frame.
        first: first frame of its utterance, broadcastable to `frame`; likewise `last`.
        context: number of frames, odd.
    """
    neighbours = frame[..., None] + torch.arange(context, device=frame.device) - context // 2
    return neighbours.clamp(first[..., None], last[..., None])


def split(utterances: int, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the training and of the validation utterances, each ascending; `fraction` of them validate."""
    order = torch.randperm(utterances, generator=torch.Generator().manual_seed(seed))
    training = int(utterances * (1 - fraction))
    return order[:training].sort().values, order[training:].sort().values


class Utterances(BatchDataset):
    """Whole utterances: inputs (B, T, context * 39), lengths (B,), labels (B, T) with PAD after an utterance's end.

    Args:
        utterances: indices of the utterances to use, (n,).
        context: frames of an input window.
    """

    def __init__(self, corpus: Corpus, utterances: torch.Tensor, context: int) -> None:
        self.corpus, self.utterances, self.context = corpus, utterances.to(corpus.frames.device), context

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        corpus, utterances = self.corpus, self.utterances[indices.to(self.utterances.device)]
        first, lengths = corpus.first[utterances, None], corpus.lengths[utterances]
        last = first + lengths[:, None] - 1
        time = torch.arange(int(lengths.max()), device=first.device)
        frame = (first + time).minimum(last)
        labels = corpus.labels[frame].masked_fill(time >= lengths[:, None], PAD)
        return corpus.frames[window(frame, first, last, self.context)].flatten(2), lengths, labels


class Frames(Utterances):
    """Single frames of those utterances: inputs (B, context * 39), labels (B,)."""

    def __init__(self, corpus: Corpus, utterances: torch.Tensor, context: int) -> None:
        super().__init__(corpus, utterances, context)
        everything = torch.arange(len(corpus.lengths), device=self.utterances.device)
        self.utterance_of = everything.repeat_interleave(corpus.lengths)
        self.frame = torch.isin(self.utterance_of, self.utterances).nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        frame = self.frame[indices.to(self.frame.device)]
        utterance = self.utterance_of[frame]
        first, length = self.corpus.first[utterance], self.corpus.lengths[utterance]
        neighbours = window(frame, first, first + length - 1, self.context)
        return self.corpus.frames[neighbours].flatten(1), self.corpus.labels[frame]
