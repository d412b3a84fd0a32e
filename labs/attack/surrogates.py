"""The networks of an attack: surrogates, which it is computed on, and the network that takes the victims' place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labs.attack import trained_surrogates, victims
from labs.attack.config import AttackConfig
from labs.attack.networks import Ensemble
from labs.core import shards

VALIDATION_FAMILY, VALIDATION_RATE = "separable", 1e-2
"""Architecture and peak learning rate of the validation network."""
SOURCES = {
    "folder": "The surrogates and the validation network were trained on `train/` of the data.",
    "drawn": """The data folder has neither `train/` nor `surrogates/`, so surrogates and validation network were
                trained on drawn pictures. On photographs they are weak classifiers, and what misleads them may not
                mislead a network that was trained on photographs: compare the accuracy on benign pictures.""",
    "trained": """The surrogates and the validation network are those of the data folder, which came trained; the
                  settings of training have no effect.""",
}
"""Fact `training` of the data -> what a report says of where the surrogates come from."""


class Networks(nn.Module):
    """The surrogates and the validation network, which are trained together.

    Args:
        given: names of networks that came trained, in the place of those of the config; the last one validates.
    """

    surrogates: nn.Module
    validation_network: nn.Module

    def __init__(self, config: AttackConfig, given: tuple[str, ...] = ()) -> None:
        super().__init__()
        if given:
            self.surrogates = trained_surrogates.TrainedEnsemble(given[:-1])
            self.validation_network = trained_surrogates.TrainedEnsemble(given[-1:])
        else:
            self.surrogates = Ensemble(config.surrogates, config.width, config.depth, config.stride)
            self.validation_network = Ensemble((VALIDATION_FAMILY,), victims.WIDTH, victims.DEPTH, config.stride)

    def forward(self, surrogate_images: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, 32, 32), those for the surrogates apart, -> logits (surrogates + 1, B, classes)."""
        return torch.cat([self.surrogates(surrogate_images), self.validation_network(images)])


class Member(nn.Module):
    """One network of an ensemble: pictures (B, 3, 32, 32) -> logits (1, B, classes)."""

    def __init__(self, ensemble: nn.Module, number: int) -> None:
        super().__init__()
        self.ensemble, self.number = ensemble, number

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.ensemble(images)[self.number : self.number + 1]
        return logits


def surrogate_names(config: AttackConfig, facts: Mapping[str, Any]) -> Sequence[str]:
    """Names of the surrogates: of those that came trained with the data, or else the architectures of the config's."""
    return facts["surrogates"][:-1] or config.surrogates


def most_residual(names: Sequence[str]) -> int:
    """Number of the first residual network of these or, if there is none, of the first network."""
    return next((number for number, name in enumerate(names) if name.startswith("res")), 0)


def build(config: AttackConfig, data_dir: Path) -> Networks:
    """The networks for prepared data, with the weights of those that came trained."""
    given = given_names(data_dir)
    networks = Networks(config, given)
    if given:
        trained_surrogates.load(data_dir, networks.surrogates, given[:-1])
        trained_surrogates.load(data_dir, networks.validation_network, given[-1:])
    return networks


def given_names(data_dir: Path) -> tuple[str, ...]:
    """Names of the networks that came trained with prepared data."""
    return tuple(shards.manifest(data_dir)["facts"]["surrogates"])
