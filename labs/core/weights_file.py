"""Reads a user's file with a network's weights: what `torch.save` or safetensors wrote; no code in it is ever run."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from labs.core.errors import BadInput, shown
from labs.core.listing import find, is_in
from labs.core.pickle_scan import refuse_hostile_weights

IN_CHECKPOINT = ("model_state_dict", "state_dict", "model")
"""Names under which a training's checkpoint has the weights, beside the optimizer's state and others."""
WRAPPED = "module."
"""What `DataParallel` puts before the name of each weight."""


@dataclass(frozen=True)
class GivenWeights:
    """Weights of a trained network that a user's data folder may have."""

    file: str
    """Name in the folder."""
    packed: str
    """Name of the file in packed data."""
    role: str
    """What the network is for: the name of the weights' digest among the facts of the data."""
    otherwise: str
    """What is used without the file, for messages."""

    def are_in(self, source: Path | None) -> bool:
        """Whether a user's data folder, None for generated data, has them."""
        return is_in(source, self.file)

    def check(self, folder: Path, fit: Callable[[dict[str, torch.Tensor]], None]) -> list[str]:
        """The fault of the file in a sentence; empty if it has none or is not there.

        Args:
            folder: the data folder.
            fit: raises `BadInput` for weights that are not those of the network.
        """
        file = find(folder, self.file)
        if file is None:
            return []
        try:
            fit(read_weights(file))
        except BadInput as error:
            return [f"{file.name}: {error}; without this file {self.otherwise}"]
        return []

    def prepare(self, folder: Path, out: Path) -> dict[str, str]:
        """Pack the weights, if they are there; returns their digest, a fact of the data."""
        file = find(folder, self.file)
        return {} if file is None else {self.role: pack(read_weights(file), out / self.packed)}


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Name -> weight on the CPU, of a state dict or of a training's checkpoint that has one.

    Raises:
        BadInput: it holds something else, is broken, or holds objects that only pickle could read; the message is the
            end of a sentence.
    """
    content = _load(path)
    if isinstance(content, Mapping):
        inside = (content[name] for name in IN_CHECKPOINT if isinstance(content.get(name), Mapping))
        content = next(inside, content)
    if not isinstance(content, Mapping) or not content:
        raise BadInput(f"expected weights, a state dict of tensors, found {_kind(content)}")
    weights = {str(name).removeprefix(WRAPPED): tensor for name, tensor in content.items()}
    for name, tensor in weights.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise BadInput(f"expected weights, a state dict of tensors, found {_kind(tensor)} as {shown(name)}")
        if not tensor.numel():
            raise BadInput(f"expected values in {name!r}, found a shape of {tuple(tensor.shape)}")
        if tensor.is_quantized or tensor.is_nested or tensor.is_complex():
            raise BadInput(f"expected plain numbers as weights, found {name!r} of type {tensor.type()}")
    size = path.stat().st_size
    if any(tensor.nbytes > size for tensor in weights.values()):  # one stored value can stand for any number of them
        raise BadInput(f"expected all values of the weights, found a file of only {size} bytes")
    return {name: tensor.detach() for name, tensor in weights.items()}


def fill(network: nn.Module, weights: Mapping[str, torch.Tensor], what: str) -> None:
    """Load weights into a network.

    Args:
        network: on the CPU or, to compare shapes only, on the device `meta`.
        weights: name -> tensor.
        what: the network, for messages: `a ResNet-18`.

    Raises:
        BadInput: they are not those of this network, or not finite; the message is the end of a sentence.
    """
    own = network.state_dict()
    if missing := [name for name in own if name not in weights]:
        raise BadInput(f"expected the weights of {what}, found none for {missing[0]!r}")
    if foreign := [name for name in weights if name not in own]:
        raise BadInput(f"expected the weights of {what}, found weights for {shown(foreign[0])}, which it does not have")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            found, expected = tuple(tensor.shape), tuple(own[name].shape)
            raise BadInput(f"expected the weights of {what}, found {name!r} of shape {found} in place of {expected}")
        if own[name].is_floating_point() and not tensor.is_floating_point():
            raise BadInput(f"expected {name!r} of type {own[name].dtype}, found {tensor.dtype}")
        if not tensor.float().isfinite().all():  # for numbers of 8 bits isfinite itself is not there
            raise BadInput(f"expected finite numbers, found others in {name!r}")
        if name.endswith("running_var") and (tensor.float() < 0).any():
            raise BadInput(f"expected variances of 0 or more, found others in {name!r}")
    network.load_state_dict(dict(weights), assign=next(network.parameters()).is_meta)


def pack(weights: Mapping[str, torch.Tensor], file: Path) -> str:
    """Write weights as safetensors; returns a digest of them."""
    save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _load(path: Path) -> object:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        refuse_hostile_weights(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except BadInput:
        raise
    except SafetensorError as error:
        raise BadInput(f"expected weights as safetensors, found a fault: {error}") from None
    except pickle.UnpicklingError:
        raise BadInput("expected tensors alone, as torch.save(network.state_dict(), file) writes them, found other "
                       "objects, which need pickle and so can run any code, or a broken file") from None  # fmt: skip
    except Exception as error:  # torch and zip each have errors of their own for a broken file
        raise BadInput(f"expected what torch.save wrote, found a file that torch can't read ({type(error).__name__})"
                       ) from None  # fmt: skip


def _kind(value: object) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else f"a {type(value).__name__}"
