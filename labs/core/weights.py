"""What `load` reads of a finished run: weights as safetensors, and the network's sizes that came from the data."""

import json
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

M = TypeVar("M", bound=nn.Module)
WEIGHTS = "weights.safetensors"
SHAPE = "shape.json"


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside `Run.wrap`'s DDP, or the model itself."""
    return cast(nn.Module, model.module) if isinstance(model, DistributedDataParallel) else model


def load_weights(folder: Path, model: M) -> M:
    """The model with the weights of a finished run's folder, in eval mode."""
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()


def load_shape(folder: Path) -> dict[str, Any]:
    """What `Run.write_shape` wrote."""
    shape: dict[str, Any] = json.loads((folder / SHAPE).read_text())
    return shape
