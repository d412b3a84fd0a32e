"""The classifier that the course gives for homework 9, trained on its pictures of food."""

from collections.abc import Mapping
from pathlib import Path

import torch

from labs.cnn.networks import build
from labs.core.errors import BadInput
from labs.core.listing import find, roots
from labs.core.weights_file import fill, pack, read_weights

FILE, PACKED = "checkpoint.pth", "classifier.safetensors"
"""The course's checkpoint, which has the weights as `model_state_dict`, and the file of these in packed data."""
SIDE, WIDTH, CLASSES = 128, 64, 11
"""Pixels of a side of the network's input; its width and its classes, those of the course's checkpoint."""


def is_in(source: Path | None) -> bool:
    """Whether a user's data folder, or the one in it, has the checkpoint."""
    return source is not None and any(find(root, FILE) for root in roots(source))


def check(folder: Path) -> list[str]:
    """The fault of the checkpoint in a sentence; empty if it has none or is not there."""
    file = find(folder, FILE)
    if file is None:
        return []
    try:
        weights = read_weights(file)
        width, classes = sizes(weights)
        if classes != CLASSES:
            raise BadInput(f"expected a classifier of {CLASSES} classes, found one of {classes}")
        with torch.device("meta"):
            network = build("deep", width, 1, SIDE, classes)
        fill(network, weights, "the course's classifier")
    except BadInput as error:
        return [f"{file.name}: {error}; without this file the classifier is a run of the cnn lab"]
    return []


def prepare(folder: Path, out: Path) -> dict[str, str]:
    """Pack the weights, if they are there; returns their digest as `classifier`, a fact of the data."""
    file = find(folder, FILE)
    return {} if file is None else {"classifier": pack(read_weights(file), out / PACKED)}


def sizes(weights: Mapping[str, torch.Tensor]) -> tuple[int, int]:
    """Width and classes of the classifier, whose layers a smaller checkpoint may have as well."""
    first, last = weights.get("cnn.0.weight"), weights.get("fc.3.weight")
    width = max(4, len(first) // 2) if first is not None and first.dim() else WIDTH
    return width, len(last) if last is not None and last.dim() and len(last) else CLASSES
