"""Class-balanced pseudo-labels for a target domain whose classes are known to be equally frequent."""

import torch

IGNORE = -1
"""Label of an image without a pseudo-label; the cross-entropy leaves it out."""


def sinkhorn(probabilities: torch.Tensor, rounds: int = 20) -> torch.Tensor:
    """Scale probabilities (N, C) until the rows sum to 1 and each column to N / C, as the class prior is uniform.

    The Sinkhorn-Knopp iteration (Cuturi, arXiv:1306.0895): columns and rows are normalised in turn, the rows last.
    """
    for _ in range(rounds):
        probabilities = probabilities / probabilities.mean(0).clamp_min(1e-12)
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
    return probabilities


def pseudo_labels(probabilities: torch.Tensor, fraction: float) -> torch.Tensor:
    """Labels (N,) int64: of each class the most confident predictions, at most `fraction` * N / C; the others IGNORE.

    Class-balanced self-training (Zou et al., arXiv:1810.07911): y_i = argmax_c p_ic if max_c p_ic >= tau_c, where the
    threshold tau_c of class c is the confidence of its (fraction * N / C)-th most confident prediction.
    """
    count, classes = probabilities.shape
    confidence, predicted = probabilities.max(1)
    labels = torch.full((count,), IGNORE)
    for label in range(classes):
        candidates = (predicted == label).nonzero()[:, 0]
        ranking = confidence[candidates].argsort(descending=True, stable=True)
        labels[candidates[ranking[: int(fraction * count / classes)]]] = label
    return labels


def balanced_agreement(first: torch.Tensor, second: torch.Tensor, classes: int) -> float:
    """Fraction of the N images with the same prediction in `first` and `second` (N,), at most N / C of each class.

    1 if all predictions agree and the classes are balanced; 1 / C if every prediction is the same class.
    """
    agreed = first[first == second].bincount(minlength=classes)
    return float(agreed.clamp(max=len(first) / classes).sum() / len(first))
