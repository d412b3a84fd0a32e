"""What homework 9 delivers about images: the statistics of each image, and the comparison of all methods."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, ValidationError, model_validator
from torch import nn

from labs.core import shards
from labs.core.config import Config
from labs.core.errors import sentences
from labs.core.text_file import read_json
from labs.explain.scores import Explain, Scores, means, score_maps

MAPS = "maps.npy"
COMPARED = 33
"""Number of images, at most, that all methods are scored on."""
BATCH = 64
"""Images that are explained at once."""


class ImageStatistics(Config):
    """Prediction and scores of an image and its attribution map."""

    file: str = Field(pattern=r"^\d+_\d+\.jpg$")
    """Name of the image's file."""
    predicted: int = Field(ge=0)
    """The predicted class, which the map explains."""
    probability: float = Field(ge=0, le=1)
    """Probability of that class."""
    x: int = Field(ge=0)
    """Column of the map's largest value."""
    y: int = Field(ge=0)
    """Row of the map's largest value."""
    deletion: float = Field(ge=0, le=1)
    """Area under the probability while the image's pixels are deleted."""
    insertion: float = Field(ge=0, le=1)
    """Area under the probability while the image's pixels are inserted."""
    sanity: float = Field(ge=-1, le=1)
    """Rank correlation with the map of the classifier with randomised weights."""


class Statistics(Config):
    """Content of `statistics.json`."""

    method: str
    """Attribution method of the maps."""
    side: int = Field(ge=1)
    """Side of a map in pixels."""
    images: list[ImageStatistics] = Field(min_length=1)
    """In the order of their index."""

    @model_validator(mode="after")
    def _peaks_inside(self) -> "Statistics":
        for image in self.images:
            if max(image.x, image.y) >= self.side:
                raise ValueError(f"{image.file} points to {image.x}, {image.y}; expected 0 to {self.side - 1}")
        return self


def check_submission(file: Path) -> list[str]:
    """One sentence per fault of a file that must hold `Statistics`; empty if it has none."""
    try:
        Statistics.model_validate(read_json(file))
    except ValidationError as error:
        return [f"{file.name}: {fault}" for fault in sentences(error, Statistics.model_fields)]
    return []


def write_statistics(
    classifier: nn.Module, explain: Explain, explain_randomised: Explain, method: str, data_dir: Path, file: Path
) -> list[Scores]:
    """Write the statistics of the images to explain to `file`, and beside it their maps (N, H, W) float32.

    Args:
        classifier: images to logits.
        explain: the attribution method on the classifier.
        explain_randomised: the same method on the classifier with randomised weights.
        method: its name.

    Returns:
        The statistics of each image.
    """
    device = next(classifier.parameters()).device
    images, facts = shards.ArrowDataset(data_dir, "test", ("image",)), shards.manifest(data_dir)["facts"]
    maps, scores = [], list[Scores]()
    for indices in torch.arange(len(images)).split(BATCH):
        found, rows = score_maps(classifier, explain, explain_randomised, images[indices][0].to(device))
        maps.append(found)
        scores += rows
    named = [{"file": name, **row} for name, row in zip(facts["names"], scores, strict=True)]
    file.write_text(json.dumps({"method": method, "side": facts["side"], "images": named}, indent=1))
    np.save(file.parent / MAPS, torch.cat(maps).cpu().numpy())
    return named


def compare_methods(
    classifier: nn.Module,
    methods: Mapping[str, tuple[Explain, Explain]],
    validation: shards.ArrowDataset,
    shown: torch.Tensor,
) -> tuple[dict[str, torch.Tensor], list[Scores]]:
    """Explain the same images with every method.

    Args:
        classifier: images to logits.
        methods: name -> the method on the classifier, and on the classifier with randomised weights.
        validation: images and, where there are any, masks to score the methods on.
        shown: images (N, 3, H, W) for the figure.

    Returns:
        Method -> maps (N, H, W) of the images `shown`, and a row of scores and seconds per image for each method.
    """
    device = next(classifier.parameters()).device
    columns = [column.to(device) for column in validation[torch.arange(min(COMPARED, len(validation)))]]
    maps, table = {}, []
    for name, (explain, explain_randomised) in methods.items():
        scores = means(score_maps(classifier, explain, explain_randomised, *columns)[1])
        start, images = time.process_time(), shown.to(device)
        maps[name] = explain(images, classifier(images).argmax(1)).cpu()
        table.append({"method": name, **scores, "seconds": (time.process_time() - start) / len(shown)})
    return maps, table
