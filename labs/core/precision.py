"""The number format of a training: fp32 on CPUs, and on GPUs also the faster formats that their tensor cores have."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map

from labs.core.heading import Precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose(precision: Precision, device: torch.device) -> Precision:
    """The precision itself, or for `auto` that of the device."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def called_modules(model: nn.Module) -> list[nn.Module]:
    """The model, or those parts of it that a lesson calls where the model itself has no forward (a GAN's networks)."""
    if type(model).forward is not nn.Module.forward:
        return [model]
    return [module for child in model.children() for module in called_modules(child)]


def add_autocast(module: nn.Module, device_type: str, dtype: torch.dtype) -> None:
    """Have the module's forward pass computed in `dtype`, with outputs in fp32, because losses need its precision.

    Hooks do it. A copy of the module has them too and computes with its own weights; a copy of a module whose `forward`
    was replaced would compute with the first one's.
    """
    entered: list[torch.autocast] = []

    def enter(*_: Any) -> None:
        entered.append(torch.autocast(device_type, dtype))
        entered[-1].__enter__()

    def leave(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
        entered.pop().__exit__(None, None, None)
        return tree_map(_in_fp32, outputs)

    # The state of autocast is set outside of what torch.compile compiles. The second hook also follows an error.
    module.register_forward_pre_hook(torch.compiler.disable(enter))
    module.register_forward_hook(torch.compiler.disable(leave), always_call=True)


@contextmanager
def tensor_cores(precision: Precision, device: torch.device) -> Iterator[None]:
    """While entered, fp32 products and convolutions on the GPU are rounded to TF32, except at precision `fp32`."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision != "fp32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def _in_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
