"""Smoothing of a sequence of predictions: the best path through a chain that charges for every change of class."""

import torch


def smooth(log_probabilities: torch.Tensor, lengths: torch.Tensor, penalty: float) -> torch.Tensor:
    """The classes c_1 .. c_T with the largest sum of log-probabilities, less `penalty` for each t with c_t != c_(t-1).

    Viterbi's algorithm. A change costs the same whichever the classes, so that a step only compares staying with
    coming from the best class: time x classes operations, not time x classes^2.

    Args:
        log_probabilities: (B, T, classes).
        lengths: steps of each sequence, (B,); what stands after them has no effect on what stands before.
        penalty: nats; 0 gives each step's most probable class.

    Returns:
        Classes (B, T), int64; without meaning after a sequence's end.
    """
    if penalty == 0:
        return log_probabilities.argmax(2)
    ended = torch.arange(log_probabilities.shape[1], device=lengths.device) >= lengths[:, None]
    log_probabilities = log_probabilities.masked_fill(ended[..., None], 0.0)
    batch, time, classes = log_probabilities.shape
    stay = torch.arange(classes, device=log_probabilities.device).expand(batch, -1)
    score = log_probabilities[:, 0]
    came_from = []
    for t in range(1, time):
        best, origin = score.max(1, keepdim=True)
        changes = best - penalty > score
        came_from.append(torch.where(changes, origin, stay))
        score = torch.where(changes, best - penalty, score) + log_probabilities[:, t]
    path = [score.argmax(1, keepdim=True)]
    for origins in reversed(came_from):
        path.append(origins.gather(1, path[-1]))
    return torch.cat(path[::-1], 1)
