"""Two views of a convolution's filter: its activation on an image, and the image that maximises its activation."""

import torch
from torch import nn

WHITE = 255.0
"""Range of an image's values."""
RATE = 0.1
"""Adam's learning rate of the gradient ascent, as a fraction of the range of values; the course's."""


def early_and_late_convolution(model: nn.Module) -> dict[str, nn.Module]:
    """Name -> layer: the convolutions after a third and after two thirds of all convolutions."""
    found = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return {f"convolution {number + 1}": found[number] for number in (len(found) // 3, 2 * len(found) // 3)}


def activation(model: nn.Module, layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Activation of a layer's first filter on images (B, 3, H, W): (B, h, w)."""
    activations: list[torch.Tensor] = []
    with layer.register_forward_hook(lambda layer, inputs, output: activations.append(output[:, 0])):
        model(images)
    return activations[0]


def maximise_activation(model: nn.Module, layer: nn.Module, images: torch.Tensor, steps: int) -> torch.Tensor:
    """Activation maximisation: change images by gradient ascent on the sum of the first filter's activation.

    As in the course's code, and unlike in its slides, the ascent starts from the images and not from noise.

    Args:
        images: (B, 3, H, W), values 0 to 255.

    Returns:
        (B, 3, H, W) float, values 0 to 255.
    """
    pixels = (images.float() / WHITE).requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=RATE, maximize=True)
    for _ in range(steps):
        optimizer.zero_grad()
        activation(model, layer, pixels * WHITE).sum().backward()
        optimizer.step()
    return pixels.detach().clamp(0, 1) * WHITE
