"""From a score for each token to be an answer's first one, and one to be its last, to the best span of a window."""

import torch


def separate(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sample's rule: the best first token and the best last token, each for itself; the last may stand before it.

    Args:
        logits: (B, 2, T) of first and last tokens.

    Returns:
        (B,) sum of the two scores, and (B,) first and last tokens.
    """
    scores, places = logits.max(2)
    return scores.sum(1), places[:, 0], places[:, 1]


def joint(logits: torch.Tensor, allowed: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pair with the highest sum among those that are an answer: first <= last < first + `longest`.

    Args:
        logits: (B, 2, T) of first and last tokens.
        allowed: (B, T) which tokens are of the paragraph.

    Returns:
        As `separate`.
    """
    first, last = logits.float().masked_fill(~allowed[:, None], -torch.inf).unbind(1)
    tokens = logits.shape[2]
    pairs = first[:, :, None] + last[:, None, :]
    ordered = torch.ones(tokens, tokens, dtype=torch.bool, device=logits.device).triu().tril(longest - 1)
    scores, best = pairs.masked_fill(~ordered, -torch.inf).flatten(1).max(1)
    return scores, best // tokens, best % tokens
