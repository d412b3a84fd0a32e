"""Random changes to training pictures, drawn for each picture of a batch and made on its device.

torchvision's transforms draw once for all pictures of a batch, so only mixup, which is meant for batches, is theirs.
All draws are made on the CPU, so that every kind of device sees the same pictures.
"""

import torch
from torch.nn import functional as F


def augment(images: torch.Tensor, size: int, strength: float, *, alike: bool = False) -> torch.Tensor:
    """Each picture changed in its own way: turned, flipped, cropped and recoloured.

    Args:
        images: (B, 3, H, W), values 0 to 255.
        size: side of the results in pixels.
        strength: 0 for flips alone.
        alike: change all pictures in the same way.

    Returns:
        (B, 3, size, size) float, values 0 to 255.
    """
    images, count = images.float(), len(images)
    draws = 1 if alike else count
    turn = strength * uniform(images, -0.4, 0.4, draws)
    zoom = torch.exp(strength * uniform(images, -0.4, 0.1, draws))
    flip = torch.where(uniform(images, 0, 1, draws) < 0.5, -1.0, 1.0)
    shift = strength * uniform(images, -0.2, 0.2, draws, 2)
    rows = [
        zoom * flip * turn.cos(),
        -zoom * turn.sin(),
        shift[:, 0],
        zoom * flip * turn.sin(),
        zoom * turn.cos(),
        shift[:, 1],
    ]
    maps = torch.stack(rows, 1).view(draws, 2, 3).expand(count, 2, 3)
    grid = F.affine_grid(maps, [count, 3, size, size], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * torch.exp(strength * uniform(images, -0.3, 0.3, draws, 1, 1, 1)) + mean
    images = images * torch.exp(strength * uniform(images, -0.2, 0.2, draws, 3, 1, 1))
    return (images + strength * uniform(images, -25, 25, draws, 1, 1, 1)).clamp(0, 255)


def erase(images: torch.Tensor, strength: float) -> torch.Tensor:
    """A rectangle of each picture, (B, 3, side, side) float, filled with the picture's mean."""
    return torch.where(holes(images, strength), images.mean((1, 2, 3), keepdim=True), images)


def holes(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Masks (B, 1, side, side): True in a rectangle of each picture, at most 0.4 * strength of a side long and wide."""
    count, side = len(images), images.shape[-1]
    place = torch.arange(side, device=images.device) / side
    centre, half = uniform(images, 0, 1, count, 2, 1), strength * uniform(images, 0, 0.2, count, 2, 1)
    inside = (place - centre).abs() < half
    return (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]


def mixup(images: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture and its target blended with the one before it in the batch, the share drawn from Beta(alpha, alpha).

    Args:
        images: (B, members, 3, side, side); no member sees a picture of another.
        targets: (B, members, classes), the shares of the classes.
    """
    from torchvision.transforms.v2 import MixUp  # 2 s to import

    mixed, shares = MixUp(alpha=alpha)(images.float().flatten(1, 2), targets.flatten(1))
    return mixed.view_as(images), shares.view_as(targets)


def uniform(like: torch.Tensor, low: float, high: float, *shape: int) -> torch.Tensor:
    """Numbers between the bounds, drawn on the CPU, on the device of `like`."""
    return (low + (high - low) * torch.rand(*shape)).to(like.device)
