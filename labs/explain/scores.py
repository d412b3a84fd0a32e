"""Scores of attribution maps: against the mask of the object, and against the classifier.

Attribution maps (H, W): the larger the value, the more important the pixel. Masks (H, W) bool: the object's pixels.
"""

from collections.abc import Callable
from copy import deepcopy
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import nn

SCORES = ("mass_accuracy", "pointing", "deletion", "insertion", "sanity")
Scores = dict[str, Any]
"""Prediction and scores of one image and its map, by name."""
Explain = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images (B, 3, H, W) and classes (B,) int64 -> attribution maps (B, H, W)."""
M = TypeVar("M", bound=nn.Module)
STEPS = 10
"""Steps in which the pixels of an image are deleted or inserted."""
RADIUS, SIGMA = 5, 5.0
"""Radius and standard deviation, in pixels, of the Gaussian blur that insertion starts from (RISE's)."""


def score_maps(
    classifier: nn.Module,
    explain: Explain,
    explain_randomised: Explain,
    images: torch.Tensor,
    masks: torch.Tensor | None = None,
) -> tuple[torch.Tensor, list[Scores]]:
    """Explain the predicted class of each image.

    Args:
        classifier: images to logits.
        explain: the attribution method on the classifier.
        explain_randomised: the same method on the classifier with randomised weights.
        images: (B, 3, H, W), values 0 to 255.
        masks: (B, H, W), 1 on the object; without them the scores `pointing` and `mass_accuracy` are left out.

    Returns:
        Attribution maps (B, H, W), and the prediction and scores of each image.
    """
    with torch.no_grad():
        probabilities, targets = classifier(images).softmax(1).max(1)
    maps, randomised_maps, scores = explain(images, targets), explain_randomised(images, targets), []
    for number, (image, target) in enumerate(zip(images.float().split(1), targets.tolist(), strict=True)):
        attribution = maps[number]
        y, x = peak(attribution)
        deletion, insertion = deletion_and_insertion(classifier, image, target, attribution)
        scores.append({
            "predicted": target, "probability": float(probabilities[number]), "x": x, "y": y,
            "deletion": deletion, "insertion": insertion,
            "sanity": rank_correlation(attribution, randomised_maps[number]),
        })  # fmt: skip
        if masks is not None:
            scores[-1].update(mask_scores(attribution, masks[number], x, y))
    return maps, scores


def mask_scores(attribution: torch.Tensor, mask: torch.Tensor, x: int, y: int) -> Scores:
    """The scores that need the mask (H, W), of a map (H, W) whose largest value is in column x of row y."""
    return {"pointing": float(mask[y, x]), "mass_accuracy": mass_accuracy(attribution, mask.bool())}


def means(scores: list[Scores]) -> Scores:
    """The mean of each score over the images."""
    return {name: fmean(row[name] for row in scores) for name in SCORES if name in scores[0]}


def peak(attribution: torch.Tensor) -> tuple[int, int]:
    """Row and column of a map's largest value; of several, as in a superpixel, the one nearest to their centre."""
    ties = (attribution == attribution.max()).nonzero()
    distance = (ties - ties.double().mean(0)).square().sum(1)
    row, column = ties[distance.argmin()].tolist()
    return row, column


def mass_accuracy(attribution: torch.Tensor, mask: torch.Tensor) -> float:
    """Fraction of the positive attribution that lies on the object (relevance mass accuracy; Arras et al.,
    arXiv:2003.07258); 0 for a map without positive values."""
    positive = attribution.double().clamp(min=0)
    return float(positive[mask].sum() / positive.sum().clamp(min=1e-30))  # sum_mask R+ / sum R+


def deletion_and_insertion(
    model: nn.Module, image: torch.Tensor, target: int, attribution: torch.Tensor
) -> tuple[float, float]:
    """Areas under the class's probability while pixels are replaced, the most important ones first (Petsiuk et al.,
    RISE, arXiv:1806.07421).

    Deletion, lower is better: the pixels of the image (1, 3, H, W) are replaced by its mean colour. Insertion, higher
    is better: the pixels of a blurred image are replaced by the original ones.
    """
    from scipy.ndimage import gaussian_filter

    mean_colour = image.mean((2, 3), keepdim=True)
    blurred = gaussian_filter(image.cpu().numpy(), SIGMA, mode="mirror", radius=RADIUS, axes=(2, 3))
    steps = min(STEPS, attribution.numel())
    rank = attribution.flatten().argsort(descending=True, stable=True).argsort().view_as(attribution)
    counts = torch.linspace(0, attribution.numel(), steps + 1, device=attribution.device).round()
    replaced = rank < counts[:, None, None, None]
    with torch.no_grad():
        deleted = torch.where(replaced, mean_colour, image)
        inserted = torch.where(replaced, image, torch.from_numpy(blurred).to(image.device))
        probabilities = model(torch.cat([deleted, inserted])).softmax(1)[:, target]
    # AUC = 1/n sum_k (p_k + p_(k+1)) / 2
    deletion, insertion = (torch.trapezoid(probabilities.view(2, -1)) / steps).tolist()
    return deletion, insertion


def rank_correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Spearman's rank correlation of two maps; 0 if one of them is constant."""
    from scipy.stats import spearmanr  # a second to import

    if first.min() == first.max() or second.min() == second.max():
        return 0.0
    return float(spearmanr(first.flatten().cpu().numpy(), second.flatten().cpu().numpy()).statistic)


def randomise_weights(model: M) -> M:
    """A copy with all learnt weights reinitialised, from a fixed seed. A map that does not change does not depend on
    what the classifier has learnt (Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292)."""
    device = next(model.parameters()).device
    # Random numbers fill a tensor in the order of its memory: on the CPU, and in the contiguous format.
    randomised = deepcopy(model).cpu().to(memory_format=torch.contiguous_format)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in randomised.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.reset_parameters()
    return randomised.to(device)
