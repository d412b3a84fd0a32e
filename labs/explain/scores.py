"""How good a map of what made a classifier say what it said is: against what is known, and against the classifier.

Maps (H, W): the larger, the more important. Masks (H, W) bool: the pixels of the object.
"""

from collections.abc import Callable
from copy import deepcopy
from statistics import fmean
from typing import Any, TypeVar

import torch
from pydantic import Field, model_validator
from torch import nn

from labs.core.config import Config

SCORES = ("pointing", "mass_accuracy", "deletion", "insertion", "sanity")
Scores = dict[str, Any]
"""What there is to say about one picture and its map, by name."""
Method = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
M = TypeVar("M", bound=nn.Module)
STEPS = 10
"""Parts in which a picture's pixels are taken away or put back."""
RADIUS, SIGMA = 5, 5.0
"""Pixels on each side, and standard deviation, of the Gaussian blur that insertion starts from (RISE's)."""


def examine(
    classifier: nn.Module,
    explainer: Method,
    blank: Method,
    images: torch.Tensor,
    masks: torch.Tensor | None = None,
) -> tuple[torch.Tensor, list[Scores]]:
    """Maps (B, H, W) of pictures (B, 3, H, W), and what there is to say about each picture and its map.

    Args:
        classifier: pictures to logits.
        explainer: pictures and classes (B,) to maps of what speaks for these classes.
        blank: the same method on the classifier with weights drawn afresh.
        masks: (B, H, W), 1 on the object; without them nothing is said about where it is.
    """
    with torch.no_grad():
        probabilities, targets = classifier(images).softmax(1).max(1)
    maps, others, found = explainer(images, targets), blank(images, targets), []
    for number, (image, heat, target) in enumerate(zip(images.float().split(1), maps, targets.tolist(), strict=True)):
        y, x = peak(heat)
        found.append({
            "predicted": target, "probability": float(probabilities[number]), "x": x, "y": y,
            "deletion": deletion(classifier, image, target, heat),
            "insertion": insertion(classifier, image, target, heat),
            "sanity": rank_correlation(heat, others[number]),
        })  # fmt: skip
        if masks is not None:
            found[-1].update(located(heat, masks[number], x, y))
    return maps, found


def located(heat: torch.Tensor, mask: torch.Tensor, x: int, y: int) -> Scores:
    """What is said of a map (H, W) that points to column x of row y where the object is known: 1 in the mask (H, W)."""
    return {"pointing": float(mask[y, x]), "mass_accuracy": mass_accuracy(heat, mask.bool())}


def means(found: list[Scores]) -> Scores:
    """Each score's mean over the pictures."""
    return {name: fmean(row[name] for row in found) for name in SCORES if name in found[0]}


def peak(heat: torch.Tensor) -> tuple[int, int]:
    """Row and column of a map's largest value; of many, as in a superpixel, of the one nearest to their middle."""
    ties = (heat == heat.max()).nonzero()
    distance = (ties - ties.double().mean(0)).square().sum(1)
    row, column = ties[distance.argmin()].tolist()
    return row, column


def mass_accuracy(heat: torch.Tensor, mask: torch.Tensor) -> float:
    """Share of what speaks for the class, the map's positive part, that lies on the object (relevance mass accuracy,
    Arras et al., arXiv:2003.07258); 0 for a map without any."""
    positive = heat.double().clamp(min=0)
    return float(positive[mask].sum() / positive.sum().clamp(min=1e-30))


def deletion(model: nn.Module, image: torch.Tensor, target: int, heat: torch.Tensor) -> float:
    """Area under the probability of a class while its picture (1, 3, H, W) loses its pixels, the most important ones
    first, to the mean colour; low is right (Petsiuk et al., RISE, arXiv:1806.07421)."""
    grey = image.mean((2, 3), keepdim=True).expand_as(image)
    return _area(model, image, grey, target, heat)


def insertion(model: nn.Module, image: torch.Tensor, target: int, heat: torch.Tensor) -> float:
    """The same while a blurred picture gets its pixels back, the most important ones first; high is right."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(image.cpu().numpy(), SIGMA, mode="mirror", radius=RADIUS, axes=(2, 3))
    return _area(model, torch.from_numpy(blurred).to(image.device), image, target, heat)


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Spearman's, between two maps; 0 where one of them is the same everywhere."""
    from scipy.stats import spearmanr  # a second to import

    if one.min() == one.max() or other.min() == other.max():
        return 0.0
    return float(spearmanr(one.flatten().cpu().numpy(), other.flatten().cpu().numpy()).statistic)


def randomised(model: M) -> M:
    """A copy with all that was learnt drawn afresh, always alike. A map that stays as it was is not about what the
    classifier has learnt (Adebayo et al., Sanity Checks for Saliency Maps, arXiv:1810.03292)."""
    device, fresh = next(model.parameters()).device, deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in fresh.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.reset_parameters()
    return fresh.to(device)


def _area(model: nn.Module, start: torch.Tensor, end: torch.Tensor, target: int, heat: torch.Tensor) -> float:
    """Area, over the share of pixels, under the probability on the way from one picture to another."""
    steps = min(STEPS, heat.numel())
    rank = heat.flatten().argsort(descending=True, stable=True).argsort().view_as(heat)
    changed = torch.linspace(0, heat.numel(), steps + 1, device=heat.device).round()
    with torch.no_grad():
        frames = torch.where(rank < changed[:, None, None, None], end, start)
        curve = model(frames).softmax(1)[:, target]
    return float(torch.trapezoid(curve) / steps)


class Picture(Config):
    """What is said about a picture and its map."""

    file: str = Field(pattern=r"^\d+_\d+\.jpg$")
    """Its name."""
    predicted: int = Field(ge=0)
    """The class that the classifier sees."""
    probability: float = Field(ge=0, le=1)
    """Of that class."""
    x: int = Field(ge=0)
    """Column of the map's most important pixel."""
    y: int = Field(ge=0)
    """Its row."""
    deletion: float = Field(ge=0, le=1)
    """Area under the probability while the picture loses its pixels."""
    insertion: float = Field(ge=0, le=1)
    """The same while it gets them back."""
    sanity: float = Field(ge=-1, le=1)
    """Rank correlation with the map of a classifier of random weights."""


class Statistics(Config):
    """What `statistics.json` holds."""

    method: str
    """How the maps were made."""
    side: int = Field(ge=1)
    """Pixels of a map's side."""
    pictures: list[Picture] = Field(min_length=1)
    """In the order of their index."""

    @model_validator(mode="after")
    def _inside(self) -> "Statistics":
        for picture in self.pictures:
            if max(picture.x, picture.y) >= self.side:
                raise ValueError(f"{picture.file} points to {picture.x}, {picture.y}; expected 0 to {self.side - 1}")
        return self
