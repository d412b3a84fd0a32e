"""Pruning a trained network: single weights masked, or channels taken out."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils import prune

from labs.shared.vision.residual import Block

Link = tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]
"""A convolution, its normalisation, and the only convolution that reads its channels."""


def prune_weights(model: nn.Module, ratio: float) -> nn.Module:
    """A copy without the share `ratio` of the convolutions' weights, the smallest over the whole network.

    They are 0 in tensors of the same shape: what is multiplied, and what is stored, stays as it was.
    """
    pruned = deepcopy(model)
    convolutions = [(module, "weight") for module in pruned.modules() if isinstance(module, nn.Conv2d)]
    prune.global_unstructured(convolutions, prune.L1Unstructured, amount=ratio)
    for module, name in convolutions:
        prune.remove(module, name)
    return pruned


def prune_channels(model: nn.Module, ratio: float) -> nn.Module:
    """A copy with the share `ratio` of the channels taken out between convolutions, those with the smallest sum of
    absolute weights in each (Li et al., arXiv:1608.08710); what a shortcut or a linear layer reads stays whole.

    The tensors shrink, so the copy is smaller and does less work.
    """
    pruned = deepcopy(model)
    chosen = [(link, _largest(link[0].weight, ratio)) for link in links(pruned)]
    for link, kept in chosen:
        _keep(link, kept)
    return pruned


def links(model: nn.Module) -> Iterator[Link]:
    """Where channels can be taken out: inside residual blocks, and between the convolutions of plain stacks."""
    for module in model.modules():
        if isinstance(module, Block):
            yield module.conv1, module.norm1, module.conv2
        elif isinstance(module, nn.Sequential):
            layers = [layer for layer in module if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear | Block)]
            for first, norm, second in zip(layers, layers[1:], layers[2:], strict=False):
                if isinstance(first, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and isinstance(second, nn.Conv2d):
                    yield first, norm, second


def _largest(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask (outputs,) of the channels that stay."""
    mask: torch.Tensor = prune.LnStructured(ratio, n=1, dim=0).compute_mask(weight, torch.ones_like(weight))
    return mask.flatten(1).any(1)


def _keep(link: Link, kept: torch.Tensor) -> None:
    """Take out the channels where `kept`, a mask, is false."""
    first, norm, second = link
    with torch.no_grad():
        for layer, names in ((first, ("weight", "bias")), (norm, ("weight", "bias"))):
            for name in names:
                value = getattr(layer, name)
                if value is not None:
                    setattr(layer, name, nn.Parameter(value[kept]))
        norm.running_mean, norm.running_var = norm.running_mean[kept], norm.running_var[kept]  # type: ignore[index]
        second.weight = nn.Parameter(second.weight[:, kept])
    first.out_channels = norm.num_features = second.in_channels = int(kept.sum())
