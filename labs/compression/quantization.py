"""Post-training quantisation to int8, which CPUs multiply faster than fp32."""

import warnings
from copy import deepcopy

import torch
from torch import nn

FUSED = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)


def quantize(model: nn.Module, calibration: torch.Tensor) -> nn.Module:
    """A copy of a network in eval mode, on the CPU, with normalisations folded into convolutions and int8 throughout.

    By torch's own eager quantisation. What shall follow it, torchao, takes seconds to import and compiles convolutions.

    Args:
        model: runs of convolution, normalisation and ReLU inside `nn.Sequential`, sums by `FloatFunctional`.
        calibration: inputs, (B, ...); the ranges of their activations become the 8 bits' steps.
    """
    from torch.ao import quantization

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what the next release of torch deprecates
        fused = quantization.fuse_modules(deepcopy(model), runs(model)).eval()
        wrapped = quantization.QuantWrapper(fused)
        wrapped.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
        prepared = quantization.prepare(wrapped)
        prepared(calibration)
        quantized: nn.Module = quantization.convert(prepared)
    return quantized


def runs(model: nn.Module) -> list[list[str]]:
    """Names of the layers of each convolution, normalisation and ReLU that follow each other."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            layers = list(module.named_children())
            for part in zip(layers, layers[1:], layers[2:], strict=False):
                if all(isinstance(layer, kind) for (_, layer), kind in zip(part, FUSED, strict=True)):
                    found.append([f"{name}.{child}" for child, _ in part])
    return found
