"""From the start and end logits of a window's tokens to the span with the best score."""

import torch


def separate_search(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sample's rule: the argmax of the start logits and, independently, of the end logits, which may lie before it.

    Args:
        logits: (B, 2, T) start and end logits.

    Returns:
        (B,) scores, the sum of the two logits, and (B,) first and last tokens.
    """
    maxima, positions = logits.max(2)
    return maxima.sum(1), positions[:, 0], positions[:, 1]


def joint_search(
    logits: torch.Tensor, allowed: torch.Tensor, max_tokens: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best span among all with first <= last < first + `max_tokens` (Devlin et al., arXiv:1810.04805, section 4.2).

    Args:
        logits: (B, 2, T) start and end logits.
        allowed: (B, T) the tokens that a span may begin or end with: those of the paragraph.
        max_tokens: maximum length of a span.

    Returns:
        As `separate_search`; the score is -inf where no span is allowed.
    """
    start_logits, end_logits = logits.float().masked_fill(~allowed[:, None], -torch.inf).unbind(1)
    tokens = logits.shape[2]
    # score(i, j) = start logit of token i + end logit of token j
    scores = start_logits[:, :, None] + end_logits[:, None, :]
    valid = torch.ones(tokens, tokens, dtype=torch.bool, device=logits.device).triu().tril(max_tokens - 1)
    best_scores, best = scores.masked_fill(~valid, -torch.inf).flatten(1).max(1)
    return best_scores, best // tokens, best % tokens
