"""Pruning of a trained network by magnitude: unstructured, of single weights, or structured, of whole channels."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils import prune

from labs.compression.course_teacher import block_types
from labs.shared.vision.residual import Block

ConvPair = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]
"""A convolution, its batch norm, and the only convolution that reads its output channels."""


def prune_weights(model: nn.Module, ratio: float) -> nn.Module:
    """Unstructured pruning: a copy whose convolution weights of smallest magnitude are 0.

    The threshold is one for the whole network: w = 0 where |w| is among the fraction `ratio` of smallest ones. The
    tensors keep their shapes, so neither the computation nor the file becomes smaller.
    """
    pruned = deepcopy(model)
    convolutions = [(module, "weight") for module in pruned.modules() if isinstance(module, nn.Conv2d)]
    prune.global_unstructured(convolutions, prune.L1Unstructured, amount=ratio)
    for module, name in convolutions:
        prune.remove(module, name)
    return pruned


def prune_channels(model: nn.Module, ratio: float) -> nn.Module:
    """Structured pruning: a copy without the fraction `ratio` of the channels between two convolutions.

    Of each convolution those with the smallest L1 norm are removed (Li et al., arXiv:1608.08710); channels that a
    shortcut or a linear layer reads are kept, and those of depthwise convolutions, as each is tied to a channel that a
    shortcut reads. The tensors shrink, so the copy is smaller and computes less.
    """
    pruned = deepcopy(model)
    selected = [(pair, _channels_to_keep(pair[0].weight, ratio)) for pair in conv_pairs(pruned)]
    for pair, kept in selected:
        _remove_channels(pair, kept)
    return pruned


def conv_pairs(model: nn.Module) -> Iterator[ConvPair]:
    """The pairs between which channels can be removed: inside residual blocks, and in stacks of convolutions."""
    course_blocks = block_types()
    types = (nn.Conv2d, nn.BatchNorm2d, nn.Linear, Block, *course_blocks)
    for module in model.modules():
        if isinstance(module, Block):
            yield module.conv1, module.norm1, module.conv2
        elif isinstance(module, course_blocks):
            yield module.conv1, module.bn1, module.conv2  # type: ignore[misc]
        elif isinstance(module, nn.Sequential):
            layers = [layer for layer in module if isinstance(layer, types) and not _is_depthwise(layer)]
            for first, norm, second in zip(layers, layers[1:], layers[2:], strict=False):
                if isinstance(first, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and isinstance(second, nn.Conv2d):
                    yield first, norm, second


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def _channels_to_keep(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask (outputs,) of the channels with the largest s_j = sum |W_j| (Li et al., section 3.1)."""
    mask: torch.Tensor = prune.LnStructured(ratio, n=1, dim=0).compute_mask(weight, torch.ones_like(weight))
    return mask.flatten(1).any(1)


def _remove_channels(pair: ConvPair, kept: torch.Tensor) -> None:
    """Remove the channels where the mask `kept` is False from both convolutions and the batch norm, in place."""
    first, norm, second = pair
    with torch.no_grad():
        for layer in (first, norm):
            for name in ("weight", "bias"):
                value = getattr(layer, name)
                if value is not None:
                    setattr(layer, name, nn.Parameter(value[kept]))
        norm.running_mean, norm.running_var = norm.running_mean[kept], norm.running_var[kept]  # type: ignore[index]
        second.weight = nn.Parameter(second.weight[:, kept])
    first.out_channels = norm.num_features = second.in_channels = int(kept.sum())
