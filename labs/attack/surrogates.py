"""The networks of an attack: surrogates, which it is computed on, the network that takes the victims' place, and the
one network that two of the report's questions are about."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from labs.attack import trained_surrogates, victims
from labs.attack.config import AttackConfig
from labs.attack.networks import Ensemble
from labs.core import shards

VALIDATION_FAMILY, VALIDATION_RATE = "separable", 1e-2
"""Architecture of the validation network, and peak learning rate of all networks but the surrogates."""
RESIDUAL = "residual"
"""Architecture of the report's network: that of the homework, resnet110, has 18 residual blocks a stage."""
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
    """The surrogates, the validation network and the report's network, which are trained together.

    The report's network is always a residual one, trained on benign pictures with a fixed learning rate, so that the
    answers about it do not depend on the choice of surrogates. It is built last, so that the others' initial weights
    do not depend on it either.

    Args:
        given: names of networks that came trained, in the place of those of the config; the last one validates.
    """

    surrogates: nn.Module
    validation_network: nn.Module
    report_network: nn.Module

    def __init__(self, config: AttackConfig, given: tuple[str, ...] = ()) -> None:
        super().__init__()
        if given:
            self.surrogates = trained_surrogates.TrainedEnsemble(given[:-1])
            self.validation_network = trained_surrogates.TrainedEnsemble(given[-1:])
            self.report_network = trained_surrogates.TrainedEnsemble([most_residual(given[:-1])])
        else:
            self.surrogates = Ensemble(config.surrogates, config.width, config.depth, config.stride)
            self.validation_network = Ensemble((VALIDATION_FAMILY,), victims.WIDTH, victims.DEPTH, config.stride)
            self.report_network = Ensemble((RESIDUAL,), config.width, config.depth, config.stride)

    def forward(self, surrogate_images: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, 32, 32), those for the surrogates apart, -> logits (surrogates + 2, B, classes)."""
        others = (self.validation_network(images), self.report_network(images))
        return torch.cat([self.surrogates(surrogate_images), *others])


def build(config: AttackConfig, data_dir: Path) -> Networks:
    """The networks for prepared data, with the weights of those that came trained."""
    given = given_names(data_dir)
    networks = Networks(config, given)
    if given:
        trained_surrogates.load(data_dir, networks.surrogates, given[:-1])
        trained_surrogates.load(data_dir, networks.validation_network, given[-1:])
        trained_surrogates.load(data_dir, networks.report_network, [most_residual(given[:-1])])
    return networks


def most_residual(names: Sequence[str]) -> str:
    """The first ResNet of these networks or, if there is none, the first network."""
    return next((name for name in names if name.startswith("resnet")), names[0])


def given_names(data_dir: Path) -> tuple[str, ...]:
    """Names of the networks that came trained with prepared data."""
    return tuple(shards.manifest(data_dir)["facts"]["surrogates"])
