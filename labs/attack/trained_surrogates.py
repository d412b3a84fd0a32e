"""Trained networks that a user gives as surrogates: torchvision's architectures with weights for CIFAR-10's classes.

`surrogates/<architecture>.pth`, or `<architecture>-<any text>.safetensors`, has the weights of torchvision's network of
that name with ten outputs, for 32 x 32 pictures that are normalised as the course's. The last one in the order of the
names is no surrogate: it takes the victims' place in validation.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import nn

from labs.attack.networks import CLASSES, MEAN, SIDE, STD
from labs.core.errors import BadInput, choices, cut
from labs.core.listing import find, visible
from labs.core.weights_file import fill, pack, read_weights

FOLDER, PACKED = "surrogates", "surrogates.safetensors"
"""Folder of the files of weights, and the file with all of them in packed data."""


class TrainedEnsemble(nn.Module):
    """Several networks: pictures (B, 3, 32, 32), values 0 to 255 -> logits (networks, B, classes).

    Args:
        names: of the networks, each of which begins with its architecture.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.networks = nn.ModuleList(_network(name) for name in names)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = (images - self.mean) / self.std
        return torch.stack([network(x) for network in self.networks])


def check(folder: Path) -> list[str]:
    """One sentence per fault of the folder's files; empty if there is no such folder."""
    files = _files(folder)
    if files is None:
        return []
    if len(files) < 2:
        return [f"{FOLDER}/: found {len(files)} networks, expected at least 2, as the last one by name takes the "
                "victims' place in validation"]  # fmt: skip
    stems = [path.stem for path in files]
    if twice := [path.name for path in files if stems.count(path.stem) > 1]:
        return [f"{FOLDER}/: expected a name of its own for each network, found {' and '.join(twice)}"]
    return [f"{FOLDER}/{path.name}: {fault}" for path in files if (fault := _fault(path))]


def prepare(folder: Path, out: Path) -> dict[str, Any]:
    """Pack the weights of all files; returns facts of the data: the networks' names as `surrogates`, none if there is
    no such folder, and the weights' digest."""
    files = _files(folder) or []
    weights = {f"{path.stem}/{name}": value for path in files for name, value in read_weights(path).items()}
    digest = pack(weights, out / PACKED) if files else ""
    return {"surrogates": [path.stem for path in files], "weights": digest}


def load(data_dir: Path, ensemble: nn.Module, names: Sequence[str]) -> None:
    """Load packed weights into an ensemble of these names."""
    packed = load_file(data_dir / PACKED)
    for name, network in zip(names, cast(nn.ModuleList, ensemble.networks), strict=True):
        start = f"{name}/"
        own = {key.removeprefix(start): value for key, value in packed.items() if key.startswith(start)}
        network.load_state_dict(own)


def _files(folder: Path) -> list[Path] | None:
    found = find(folder, FOLDER)
    return visible(found) if found and found.is_dir() else None


def _network(name: str) -> nn.Module:
    from torchvision import models  # 2 s to import

    options: dict[str, Any] = {"aux_logits": False} if name.startswith(("googlenet", "inception")) else {}
    network = models.get_model(name.split("-")[0], weights=None, num_classes=CLASSES, **options)
    return cast(nn.Module, network)


def _fault(path: Path) -> str | None:
    """The fault of a file of weights, as the end of a sentence; None if there is none."""
    from torchvision import models

    known, architecture = models.list_models(module=models), path.stem.split("-")[0]
    if architecture not in known:
        return f"expected a name that begins with one of torchvision's architectures: {choices(known, architecture)}"
    try:
        network = _network(path.stem)
        fill(network, read_weights(path), f"torchvision's {architecture} with {CLASSES} outputs")
        with torch.no_grad():
            finite = network.eval()(torch.zeros(1, 3, SIDE, SIDE)).isfinite().all()
    except BadInput as error:
        return str(error)
    except RuntimeError as error:  # of a layer whose input would have no pixels
        return f"expected a network that takes {SIDE}x{SIDE} pictures, but {architecture} does not: {cut(str(error))}"
    return None if finite else "expected finite outputs, found others for a black picture"
