"""Post-training static quantisation to int8, which CPUs compute faster than fp32."""

import warnings
from copy import deepcopy

import torch
from torch import nn

FUSED = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)
"""Types of the consecutive layers that are fused into one."""


def quantize(model: nn.Module, calibration: torch.Tensor) -> nn.Module:
    """An int8 copy of a network in eval mode on the CPU, with batch norms folded into the convolutions.

    A weight or an activation x is stored as q = clamp(round(x / scale) + zero_point, q_min, q_max) and stands for
    scale * (q - zero_point). An activation's range [x_min, x_max] is that of the calibration inputs, from which
    scale = (x_max - x_min) / (q_max - q_min) and zero_point = q_min - round(x_min / scale). A weight's range is its
    own and symmetric, so that its zero point is 0.

    This is torch's eager-mode quantisation. torchao, which is to replace it, takes seconds to import and compiles the
    convolutions.

    Args:
        model: its runs of convolution, batch norm and ReLU are in `nn.Sequential`, its sums are `FloatFunctional`.
        calibration: inputs, (B, ...).
    """
    from torch.ao import quantization

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecation warnings of eager-mode quantisation
        # 1. Fuse each convolution with its batch norm and ReLU: w' = w gamma / sigma,
        #    b' = (b - mu) gamma / sigma + beta.
        fused = quantization.fuse_modules(deepcopy(model), fusible_layers(model)).eval()
        # 2. Insert the observers, and run the calibration inputs through them.
        wrapped = quantization.QuantWrapper(fused)
        wrapped.qconfig = quantization.get_default_qconfig(torch.backends.quantized.engine)
        prepared = quantization.prepare(wrapped)
        prepared(calibration)
        # 3. Replace the layers by int8 ones with the observed scales and zero points.
        quantized: nn.Module = quantization.convert(prepared)
    return quantized


def fusible_layers(model: nn.Module) -> list[list[str]]:
    """Names of each convolution, batch norm and ReLU that directly follow each other."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Sequential):
            layers = list(module.named_children())
            for consecutive in zip(layers, layers[1:], layers[2:], strict=False):
                if all(isinstance(layer, kind) for (_, layer), kind in zip(consecutive, FUSED, strict=True)):
                    found.append([f"{name}.{child}" for child, _ in consecutive])
    return found
