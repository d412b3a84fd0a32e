"""The proxy by which a run is validated without labels of drawings."""

import torch

from labs.adaptation.domains import Images, evenly_spaced
from labs.adaptation.networks import DiscrepancyNet, Ensemble
from labs.adaptation.pseudo_labels import balanced_agreement
from labs.adaptation.views import fixed_view
from labs.core.run import Run

VALIDATED = 500
"""Number of drawings that `val/accuracy` is measured on."""
VALIDATION_BATCH = 128
"""Drawings that are classified at once: with 512, whose feature maps leave the caches, a CPU takes twice as long."""


def view_agreement(model: Ensemble | DiscrepancyNet, target: Images, classes: int, run: Run) -> float:
    """`balanced_agreement` of the predictions for some drawings and for their fixed views."""
    indices = evenly_spaced(target, VALIDATED)
    predictions: list[list[int]] = []
    with run.evaluation(model) as net:
        for images, _ in run.loader(Images(target.images[indices], indices), VALIDATION_BATCH):
            pairs = torch.stack([net.classify(view).argmax(1) for view in (images, fixed_view(images))], 1)
            predictions += pairs.tolist()
    first, second = torch.tensor(run.gather(predictions)).T
    return balanced_agreement(first, second, classes)
