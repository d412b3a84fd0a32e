"""The classifier that the course gives for homework 9, trained on its pictures of food."""

from collections.abc import Mapping
from pathlib import Path

import torch

from labs.cnn.networks import build
from labs.core.errors import BadInput
from labs.core.weights_file import GivenWeights, fill

GIVEN = GivenWeights("checkpoint.pth", "classifier.safetensors", "classifier", "the classifier is a run of the cnn lab")
"""The course's checkpoint, which has the weights as `model_state_dict`."""
SIDE, WIDTH, CLASSES = 128, 64, 11
"""Pixels of a side of the network's input; its width and its classes, those of the course's checkpoint."""


def check(folder: Path) -> list[str]:
    """The fault of the checkpoint in a sentence; empty if it has none or is not there."""
    return GIVEN.check(folder, _fit)


def sizes(weights: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Width and classes of the classifier, whose layers a smaller checkpoint may have as well."""
    first, last = weights.get("cnn.0.weight"), weights.get("fc.3.weight")
    width = max(4, len(first) // 2) if first is not None and first.dim() else WIDTH
    return width, len(last) if last is not None and last.dim() and len(last) else CLASSES


def _fit(weights: Mapping[str, torch.Tensor]) -> None:
    """Compare weights with the network's.

    Raises:
        BadInput: they are of another one; the message is the end of a sentence.
    """
    width, classes = sizes(weights)
    if classes != CLASSES:
        raise BadInput(f"expected a classifier of {CLASSES} classes, found one of {classes}")
    with torch.device("meta"):
        network = build("deep", width, 1, SIDE, classes)
    fill(network, weights, "the course's classifier")
