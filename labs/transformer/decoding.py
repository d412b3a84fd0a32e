"""Beam search and scheduled sampling, for networks that decode step by step (`labs.transformer.networks`)."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from labs.transformer.networks import State
from labs.transformer.token_batches import BOS, EOS, PAD, TAG, UNK


class Translator(Protocol):
    """The methods of a network that beam search needs."""

    def encode(self, sources: torch.Tensor) -> State: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def step(self, targets: torch.Tensor, encoded: State, cache: State) -> tuple[torch.Tensor, State]: ...


def max_lengths(sources: torch.Tensor) -> torch.Tensor:
    """The course's maximum length of each translation, (B, S) -> (B,): 1.2 * tokens of the source + 10."""
    return (1.2 * (sources != PAD).sum(1) + 10).long()


def beam_search(
    model: Translator, sources: torch.Tensor, beam_size: int, length_penalty: float, limits: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best translations found, each followed by `EOS` and then `PAD`.

    score(y) = log p(y | x) / |y| ** length_penalty, where |y| counts `EOS`. A translation has at least one token before
    `EOS`. A beam as wide as the number of all prefixes makes the search exhaustive.

    Args:
        model: in eval mode.
        sources: (B, S) token ids.
        beam_size: hypotheses kept for each sentence; 1 is greedy search.
        length_penalty: 0 favours short translations; 1 compares the mean log-probability of a token.
        limits: (B,) maximum length of each translation.

    Returns:
        Token ids (B, longest limit) and scores (B,).
    """
    rows, longest = len(sources), int(limits.max())
    device = sources.device
    encoded = {name: tensor.repeat_interleave(beam_size, 0) for name, tensor in model.encode(sources).items()}
    cache: State = {}
    # All hypotheses of a sentence begin as [BOS]: only the first may be extended, or the beam would hold copies.
    log_probs = torch.full((rows, beam_size), -torch.inf, device=device)
    log_probs[:, 0] = 0.0
    hypotheses = torch.full((rows, beam_size, longest), PAD, device=device)
    newest = torch.full((rows * beam_size, 1), BOS, device=device)
    best, best_scores = hypotheses[:, 0].clone(), torch.full((rows,), -torch.inf, device=device)
    for length in range(1, longest + 1):
        # 1. log p(y_1 .. y_t | x) = log p(y_1 .. y_t-1 | x) + log p(y_t | y_1 .. y_t-1, x), for every next token
        logits, cache = model.step(newest, encoded, cache)
        logits[:, -1, [PAD, UNK, BOS, TAG]] = -torch.inf
        token_log_probs = logits[:, -1].float().log_softmax(1).unflatten(0, (rows, beam_size))
        extended = log_probs[:, :, None] + token_log_probs

        # 2. Hypotheses that end here compete with the best translation so far by length-normalised score.
        if length > 1:
            scores, ending = (extended[:, :, EOS] / length**length_penalty).max(1)
            better = (scores > best_scores) & (length <= limits)
            best_scores = torch.where(better, scores, best_scores)
            ended = hypotheses[torch.arange(rows), ending]
            ended[:, length - 1] = EOS
            best = torch.where(better[:, None], ended, best)

        # 3. The most probable unfinished hypotheses of each sentence stay in its beam.
        extended[:, :, EOS] = -torch.inf
        extended[length >= limits] = -torch.inf
        log_probs, chosen = extended.flatten(1).topk(beam_size)

        # 4. Log-probabilities can only fall, so log p / limit ** length_penalty bounds every later score.
        if (log_probs[:, 0] / limits**length_penalty <= best_scores).all():
            break

        # 5. Append the chosen tokens, and reorder hypotheses and cache by the hypotheses that they extend.
        parents, tokens = chosen // extended.shape[2], chosen % extended.shape[2]
        hypotheses, cache = _reorder(hypotheses, cache, parents)
        hypotheses[:, :, length - 1] = tokens
        newest = tokens.flatten()[:, None]
    return best, best_scores


def _reorder(hypotheses: torch.Tensor, cache: State, parents: torch.Tensor) -> tuple[torch.Tensor, State]:
    """The hypotheses (B, K, L) that are extended, by `parents` (B, K), and their rows (B * K, ...) of the cache."""
    rows, beam_size, longest = hypotheses.shape
    hypotheses = hypotheses.gather(1, parents[:, :, None].expand(-1, -1, longest))
    cache_rows = (parents + torch.arange(rows, device=parents.device)[:, None] * beam_size).flatten()
    return hypotheses, {name: tensor[cache_rows] for name, tensor in cache.items()}


def scheduled_sampling(model: nn.Module, sources: torch.Tensor, inputs: torch.Tensor, fraction: float) -> torch.Tensor:
    """The decoder's inputs (B, T), with a fraction of those after `BOS` replaced by the model's predictions for them.

    In two passes (Mihaylova and Martins, arXiv:1906.07651): a first pass predicts all tokens from the true inputs.
    """
    with torch.no_grad():
        predictions = model(sources, inputs).argmax(2)
    replaced = (torch.rand(inputs.shape, device=inputs.device) < fraction) & (inputs != PAD)
    replaced[:, 0] = False
    # The output at position t predicts the input at position t + 1.
    return torch.where(replaced, predictions.roll(1, 1), inputs)
