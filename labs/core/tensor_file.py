"""Reads a user's `.pt` file that must hold one tensor; no code in it is ever run."""

from pathlib import Path

import torch

from labs.core.errors import BadInput
from labs.core.pickle_scan import refuse_hostile_weights


def read_tensor(path: Path) -> torch.Tensor:
    """The tensor that `torch.save` wrote to a file, on the CPU, with all its values in the file.

    Raises:
        BadInput: the file is broken, holds something else than a tensor, or is a small file that would
            unpack to a large tensor; the message is the end of a sentence.
    """
    try:
        refuse_hostile_weights(path)
        tensor = torch.load(path, weights_only=True, map_location="cpu")
    except BadInput:
        raise
    except Exception as error:  # torch, zip and pickle each have errors of their own for a broken file
        kind = type(error).__name__
        raise BadInput(
            f"expected a tensor that torch.save wrote, found a file that torch can't read ({kind})"
        ) from None
    if not isinstance(tensor, torch.Tensor):
        raise BadInput(f"expected a tensor, found a {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise BadInput(f"expected a plain tensor, found one of type {tensor.type()}")
    if tensor.nbytes > path.stat().st_size:  # one stored value can stand for any number of them
        shape, size = tuple(tensor.shape), path.stat().st_size
        raise BadInput(f"expected all values of a tensor of shape {shape}, found a file of only {size} bytes")
    return tensor.detach()
