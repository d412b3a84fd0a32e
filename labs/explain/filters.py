"""What a filter of a convolution looks at: where it answers in a picture, and what picture it answers to most."""

import torch
from torch import nn

WHITE = 255.0
"""Range of a picture's values."""
RATE = 0.1
"""Adam's rate of the ascent, as a share of the range of values; the course's."""


def chosen(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> an early convolution of a network and a late one, a third and two thirds of the way through it."""
    found = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return {f"convolution {number + 1}": found[number] for number in (len(found) // 3, 2 * len(found) // 3)}


def activation(model: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Answers of a layer's first filter to pictures (B, 3, H, W): (B, h, w)."""
    answers: list[torch.Tensor] = []
    with layer.register_forward_hook(lambda layer, inputs, output: answers.append(output[:, 0])):
        model(images)
    return answers[0]


def ascend(model: nn.Module, layer: nn.Module, images: torch.Tensor, steps: int) -> torch.Tensor:
    """Pictures changed by gradient ascent so that a layer's first filter answers more: (B, 3, H, W) float, 0 to 255.

    As the course's code does, and unlike its slides, the ascent starts from the pictures, not from noise.
    """
    shares = (images.float() / WHITE).requires_grad_()
    optimizer = torch.optim.Adam([shares], lr=RATE, maximize=True)
    for _ in range(steps):
        optimizer.zero_grad()
        activation(model, layer, shares * WHITE).sum().backward()
        optimizer.step()
    return shares.detach().clamp(0, 1) * WHITE
