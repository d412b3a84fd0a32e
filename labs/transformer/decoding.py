"""Beam search, and scheduled sampling, over networks that decode step by step (`labs.transformer.networks`)."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from labs.transformer.networks import State
from labs.transformer.token_batches import BOS, EOS, PAD, TAG, UNK


class Translator(Protocol):
    """What beam search needs of a network."""

    def encode(self, source: torch.Tensor) -> State: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def step(self, target: torch.Tensor, source: State, past: State) -> tuple[torch.Tensor, State]: ...


def limits(source: torch.Tensor) -> torch.Tensor:
    """The course's longest translation of each source, (B, S) -> (B,): 1.2 times its pieces and 10 more."""
    return (1.2 * (source != PAD).sum(1) + 10).long()


def beam_search(
    model: Translator, source: torch.Tensor, beam: int, length_penalty: float, limit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best translations found, `EOS` at the end of each and `PAD` behind it.

    A translation of n pieces, `EOS` among them, scores its log-probability over n ** `length_penalty`. It has at least
    one piece before `EOS`. With a beam as wide as there are beginnings of translations, the search is exhaustive.

    Args:
        source: (B, S) piece numbers.
        beam: beginnings that are kept for each sentence; 1 is the greedy search.
        length_penalty: 0 prefers short translations, 1 compares the mean of a piece.
        limit: (B,) most pieces of each translation.

    Returns:
        Pieces (B, longest) and scores (B,).
    """
    rows, longest = len(source), int(limit.max())
    read = {name: part.repeat_interleave(beam, 0) for name, part in model.encode(source).items()}
    past: State = {}
    scores = torch.full((rows, beam), -torch.inf, device=source.device)
    scores[:, 0] = 0.0  # all beams of a sentence begin alike: only one counts
    written = torch.full((rows, beam, longest), PAD, device=source.device)
    newest = torch.full((rows * beam, 1), BOS, device=source.device)
    best, best_score = written[:, 0].clone(), torch.full((rows,), -torch.inf, device=source.device)
    for length in range(1, longest + 1):
        logits, past = model.step(newest, read, past)
        logits[:, -1, [PAD, UNK, BOS, TAG]] = -torch.inf
        total = scores[:, :, None] + logits[:, -1].float().log_softmax(1).unflatten(0, (rows, beam))
        if length > 1:
            ended, which = (total[:, :, EOS] / length**length_penalty).max(1)
            better = (ended > best_score) & (length <= limit)
            best_score = torch.where(better, ended, best_score)
            ending = written[torch.arange(rows), which]
            ending[:, length - 1] = EOS
            best = torch.where(better[:, None], ending, best)
        total[:, :, EOS] = -torch.inf
        total[length >= limit] = -torch.inf
        scores, chosen = total.flatten(1).topk(beam)
        # A beginning can only lose: what it would score at the limit without any further loss is a bound.
        if (scores[:, 0] / limit**length_penalty <= best_score).all():
            break
        parent, piece = chosen // total.shape[2], chosen % total.shape[2]
        written = written.gather(1, parent[:, :, None].expand(-1, -1, longest))
        written[:, :, length - 1] = piece
        origin = (parent + torch.arange(rows, device=source.device)[:, None] * beam).flatten()
        past = {name: part[origin] for name, part in past.items()}
        newest = piece.flatten()[:, None]
    return best, best_score


def own_words(model: nn.Module, source: torch.Tensor, inputs: torch.Tensor, share: float) -> torch.Tensor:
    """Scheduled sampling in two passes (Mihaylova and Martins, arXiv:1906.07651): the inputs (B, T), with a share of
    those behind the first replaced by what the model itself would say there."""
    with torch.no_grad():
        predictions = model(source, inputs).argmax(2)
    swap = (torch.rand(inputs.shape, device=inputs.device) < share) & (inputs != PAD)
    swap[:, 0] = False
    return torch.where(swap, predictions.roll(1, 1), inputs)
