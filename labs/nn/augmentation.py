"""Random changes to training pictures, drawn for each picture of a batch and made on its device."""

import torch
from torch.nn import functional as F


def augment(images: torch.Tensor, size: int, strength: float) -> torch.Tensor:
    """Each picture changed in its own way: turned, flipped, cropped, recoloured, and a rectangle of it erased.

    All pictures are changed in one go on their device, which torchvision's transforms can't: they draw once a batch.

    Args:
        images: (B, 3, H, W), values 0 to 255.
        size: side of the results in pixels.
        strength: 0 for no change.

    Returns:
        (B, 3, size, size) float, values 0 to 255.
    """
    images, count = images.float(), len(images)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        # Drawn on the CPU, so that every kind of device sees the same pictures.
        return (low + (high - low) * torch.rand(count, *shape)).to(images.device)

    turn = strength * uniform(-0.4, 0.4)
    zoom = torch.exp(strength * uniform(-0.4, 0.1))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    shift = strength * uniform(-0.2, 0.2, 2)
    rows = [
        zoom * flip * turn.cos(),
        -zoom * turn.sin(),
        shift[:, 0],
        zoom * flip * turn.sin(),
        zoom * turn.cos(),
        shift[:, 1],
    ]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), [count, 3, size, size], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * torch.exp(strength * uniform(-0.3, 0.3, 1, 1, 1)) + mean
    images = images * torch.exp(strength * uniform(-0.2, 0.2, 3, 1, 1)) + strength * uniform(-25, 25, 1, 1, 1)

    place = torch.arange(size, device=images.device) / size
    centre, half = uniform(0, 1, 2, 1), strength * uniform(0, 0.2, 2, 1)
    inside = (place - centre).abs() < half
    hole = (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]
    return torch.where(hole, mean, images).clamp(0, 255)
