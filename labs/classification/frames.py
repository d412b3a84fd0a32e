"""Packed utterances as training sees them: a frame with its neighbours at a time, or whole utterances side by side."""

from pathlib import Path

import torch

from labs.core import shards
from labs.core.loader import BatchDataset

PAD = -100
"""Label of the places after an utterance's end; `cross_entropy` passes over it."""


class Corpus:
    """The packed frames of one split and where its utterances are in them, on `device`: 430 MB at the course's size."""

    def __init__(self, data_dir: Path, split: str, device: torch.device) -> None:
        columns = ("frame", "label") if split == "train" else ("frame",)
        self.frames, *labels = (c.all().to(device) for c in shards.ArrowDataset(data_dir, split, columns).columns)
        self.labels = labels[0] if labels else torch.zeros(len(self.frames), dtype=torch.long, device=device)
        lengths = shards.ArrowDataset(data_dir, f"{split}_utterances", ("length",)).columns[0].all()
        self.lengths = lengths.to(device)
        self.first = self.lengths.cumsum(0) - self.lengths


def window(frame: torch.Tensor, first: torch.Tensor, last: torch.Tensor, context: int) -> torch.Tensor:
    """Numbers of the frames around each `frame` (...), shape (..., context): the key to wide contexts in little memory.

    Nothing is copied but for the batch at hand. Beyond an utterance's `first` and `last` frame that frame repeats.
    """
    around = frame[..., None] + torch.arange(context, device=frame.device) - context // 2
    return around.clamp(first[..., None], last[..., None])


class Utterances(BatchDataset):
    """Whole utterances: inputs (B, T, context * 39), lengths (B,), labels (B, T) with PAD after an utterance's end."""

    def __init__(self, corpus: Corpus, chosen: torch.Tensor, context: int) -> None:
        self.corpus, self.chosen, self.context = corpus, chosen.to(corpus.frames.device), context

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        corpus, chosen = self.corpus, self.chosen[indices.to(self.chosen.device)]
        first, lengths = corpus.first[chosen, None], corpus.lengths[chosen]
        place = torch.arange(int(lengths.max()), device=first.device)
        last = first + lengths[:, None] - 1
        frame = (first + place).minimum(last)
        labels = corpus.labels[frame].masked_fill(place >= lengths[:, None], PAD)
        return corpus.frames[window(frame, first, last, self.context)].flatten(2), lengths, labels


class Frames(Utterances):
    """Single frames of the chosen utterances: inputs (B, context * 39), labels (B,)."""

    def __init__(self, corpus: Corpus, chosen: torch.Tensor, context: int) -> None:
        super().__init__(corpus, chosen, context)
        self.owner = torch.arange(len(corpus.lengths), device=self.chosen.device).repeat_interleave(corpus.lengths)
        self.frame = torch.isin(self.owner, self.chosen).nonzero()[:, 0]

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        frame = self.frame[indices.to(self.frame.device)]
        first, length = self.corpus.first[self.owner[frame]], self.corpus.lengths[self.owner[frame]]
        around = window(frame, first, first + length - 1, self.context)
        return self.corpus.frames[around].flatten(1), self.corpus.labels[frame]
