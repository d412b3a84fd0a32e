"""What `load` reads of a finished run: weights as safetensors, and the network's sizes that came from the data."""

import json
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from labs.core.errors import BadInput, cut

M = TypeVar("M", bound=nn.Module)
WEIGHTS = "weights.safetensors"
SHAPE = "shape.json"


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside `Run.wrap`'s DDP, or the model itself."""
    return cast(nn.Module, model.module) if isinstance(model, DistributedDataParallel) else model


def load_weights(folder: Path, model: M) -> M:
    """The model with the weights of a finished run's folder, in eval mode.

    Raises:
        BadInput: there are none, they are damaged, or those of another network.
    """
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (FileNotFoundError, SafetensorError, RuntimeError) as error:
        raise unreadable(folder / WEIGHTS, error) from None
    return model.eval()


def load_shape(folder: Path) -> dict[str, Any]:
    """What `Run.write_shape` wrote.

    Raises:
        BadInput: it is not there, or damaged.
    """
    try:
        shape: dict[str, Any] = json.loads((folder / SHAPE).read_text())
    except (FileNotFoundError, ValueError) as error:
        raise unreadable(folder / SHAPE, error) from None
    return shape


def unreadable(file: Path, error: Exception) -> BadInput:
    """What is wrong with a file of a run's folder, and what helps."""
    fault = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({cut(str(error))})"
    return BadInput(f"run {file.parent.name}: {file.name} {fault}: train it again with --force")
