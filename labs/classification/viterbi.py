"""Viterbi decoding of framewise predictions with a constant penalty for every change of class."""

import torch


def decode(log_probabilities: torch.Tensor, lengths: torch.Tensor, penalty: float) -> torch.Tensor:
    """The most probable path of classes c_1 ... c_T (Viterbi, IEEE Trans. Inf. Theory 13, 1967), which maximises

        sum_t log p_t(c_t)  -  penalty * (number of t with c_t != c_(t-1))

    All changes have the same penalty, so the best predecessor of a class is either the class itself or the class with
    the highest score overall: O(T * classes) operations instead of O(T * classes^2).

    Args:
        log_probabilities: (B, T, classes).
        lengths: number of steps of each sequence, (B,); later steps have no effect.
        penalty: in nats; 0 gives each step's most probable class.

    Returns:
        Classes (B, T), int64; undefined after a sequence's end.
    """
    if penalty == 0:
        return log_probabilities.argmax(2)
    padding = torch.arange(log_probabilities.shape[1], device=lengths.device) >= lengths[:, None]
    log_probabilities = log_probabilities.masked_fill(padding[..., None], 0.0)
    batch, time, classes = log_probabilities.shape
    same_class = torch.arange(classes, device=log_probabilities.device).expand(batch, -1)

    # Forward: s_1(c) = log p_1(c),  s_t(c) = log p_t(c) + max(s_(t-1)(c), max_k s_(t-1)(k) - penalty)
    score = log_probabilities[:, 0]
    predecessors = []
    for t in range(1, time):
        best, best_class = score.max(1, keepdim=True)
        changes = best - penalty > score
        predecessors.append(torch.where(changes, best_class, same_class))
        score = torch.where(changes, best - penalty, score) + log_probabilities[:, t]

    # Backward: from the best last class along the predecessors, c_(t-1) = predecessor_t(c_t)
    path = [score.argmax(1, keepdim=True)]
    for predecessor in reversed(predecessors):
        path.append(predecessor.gather(1, path[-1]))
    return torch.cat(path[::-1], 1)
