"""Augmentation of a batch of images on its device, with parameters of its own for each image.

torchvision's transforms draw one set of parameters for a whole batch, so only mixup, which mixes the images of a batch,
is taken from there. All random numbers are drawn on the CPU, so that every kind of device gets the same images.
"""

import torch
from torch.nn import functional as F


def augment(images: torch.Tensor, size: int, strength: float, *, alike: bool = False) -> torch.Tensor:
    """Rotate, flip, crop and recolour each image at random.

    Args:
        images: (B, 3, H, W), values 0 to 255.
        size: side of the results in pixels.
        strength: 0 for horizontal flips only; at 1 the rotation is up to 0.4 radians (23 degrees), the shift up to a
            tenth of the side, and the part of the image that is shown 0.67 to 1.1 times its side.
        alike: use the same parameters for all images of the batch.

    Returns:
        (B, 3, size, size) float, values 0 to 255.
    """
    images, count = images.float(), len(images)
    draws = 1 if alike else count
    # Affine map of each image: rotation, zoom, horizontal flip and shift.
    angle = strength * uniform(images, -0.4, 0.4, draws)
    zoom = torch.exp(strength * uniform(images, -0.4, 0.1, draws))
    flip = torch.where(uniform(images, 0, 1, draws) < 0.5, -1.0, 1.0)
    shift = strength * uniform(images, -0.2, 0.2, draws, 2)
    rows = [
        zoom * flip * angle.cos(),
        -zoom * angle.sin(),
        shift[:, 0],
        zoom * flip * angle.sin(),
        zoom * angle.cos(),
        shift[:, 1],
    ]
    maps = torch.stack(rows, 1).view(draws, 2, 3).expand(count, 2, 3)
    grid = F.affine_grid(maps, [count, 3, size, size], align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    # Colour: contrast around the image's mean, gain of each channel, brightness.
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * torch.exp(strength * uniform(images, -0.3, 0.3, draws, 1, 1, 1)) + mean
    images = images * torch.exp(strength * uniform(images, -0.2, 0.2, draws, 3, 1, 1))
    return (images + strength * uniform(images, -25, 25, draws, 1, 1, 1)).clamp(0, 255)


def erase(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Random erasing (Zhong et al., arXiv:1708.04896): fill a rectangle of each image (B, 3, side, side) float with the
    image's mean."""
    return torch.where(holes(images, strength), images.mean((1, 2, 3), keepdim=True), images)


def holes(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Masks (B, 1, side, side): True in a random rectangle of each image of at most 0.4 * strength sides."""
    count, side = len(images), images.shape[-1]
    position = torch.arange(side, device=images.device) / side
    centre, half = uniform(images, 0, 1, count, 2, 1), strength * uniform(images, 0, 0.2, count, 2, 1)
    inside = (position - centre).abs() < half
    return (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]


def mixup(images: torch.Tensor, targets: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """mixup (Zhang et al., arXiv:1710.09412): blend each image and its target with the one before it in the batch.

    Args:
        images: (B, members, 3, side, side), one for each member of an ensemble, which is mixed with images of the same
            member only.
        targets: (B, members, classes) class probabilities.
        alpha: the mixing coefficient lambda is drawn from Beta(alpha, alpha).
    """
    from torchvision.transforms.v2 import MixUp  # 2 s to import

    # x = lambda x_i + (1 - lambda) x_j,   y = lambda y_i + (1 - lambda) y_j
    mixed, mixed_targets = MixUp(alpha=alpha)(images.float().flatten(1, 2), targets.flatten(1))
    return mixed.view_as(images), mixed_targets.view_as(targets)


def uniform(like: torch.Tensor, low: float, high: float, *shape: int) -> torch.Tensor:
    """Uniform random numbers of this shape between the bounds, drawn on the CPU and moved to the device of `like`."""
    return (low + (high - low) * torch.rand(*shape)).to(like.device)
