"""Labels that a network gives to pictures without any, where it is known that every class is equally frequent."""

import torch

IGNORE = -1
"""The label of a picture that gets none."""


def balance(probabilities: torch.Tensor, rounds: int = 20) -> torch.Tensor:
    """Probabilities (N, C) rescaled in turn by class and by picture until every class has N / C of them in all.

    Sinkhorn & Knopp's iteration; ends with rows that sum to 1.
    """
    for _ in range(rounds):
        probabilities = probabilities / probabilities.mean(0).clamp_min(1e-12)
        probabilities = probabilities / probabilities.sum(1, keepdim=True)
    return probabilities


def pseudo_labels(probabilities: torch.Tensor, share: float) -> torch.Tensor:
    """Labels (N,): each class takes the pictures most surely its own, at most `share` of N / C; the others IGNORE."""
    count, classes = probabilities.shape
    sure, guess = probabilities.max(1)
    labels = torch.full((count,), IGNORE)
    for label in range(classes):
        own = (guess == label).nonzero()[:, 0]
        best = sure[own].argsort(descending=True, stable=True)[: int(share * count / classes)]
        labels[own[best]] = label
    return labels


def balanced_agreement(first: torch.Tensor, second: torch.Tensor, classes: int) -> float:
    """Share of pictures with the same guess (N,) twice, where no class counts more than N / C times.

    1 where all agree and the classes are balanced; 1 / C where everything is taken for one class.
    """
    agreed = first[first == second].bincount(minlength=classes)
    return float(agreed.clamp(max=len(first) / classes).sum() / len(first))
