"""Differentiable augmentation for GANs: brightness, saturation, contrast, translation and cutout.

The critic sees real and generated pictures only augmented, so that it can not learn few pictures by heart; as every
augmentation is differentiable, the generator still learns through them. Zhao et al., arXiv:2006.10738.
"""

import torch

AUGMENTATION_NUMBERS = 7
"""Random numbers that the augmentation of a picture takes: one each for brightness, saturation and contrast, two for
the translation and two for the place of the cutout."""


def augment(pictures: torch.Tensor, random: torch.Tensor, strength: float) -> torch.Tensor:
    """The pictures (B, 3, S, S), each augmented in all five ways.

    Args:
        pictures: values from -1 to 1.
        random: (B, 7) random numbers from 0 to 1; 0.5 is the middle of each augmentation's range.
        strength: 0 leaves the pictures as they are. At 1 the translation is up to an eighth of the side, and the
            cutout's side is half the picture's.
    """
    if not strength:
        return pictures
    # Each row becomes (B, 1, 1, 1), from -strength to strength.
    brightness, saturation, contrast, dx, dy, x, y = (2 * random - 1).T[:, :, None, None, None] * strength
    pictures = change_brightness(pictures, brightness)
    pictures = change_saturation(pictures, saturation)
    pictures = change_contrast(pictures, contrast)
    # The cutout's centre lies anywhere in the picture, whatever the strength: x and y go from -1 to 1 again.
    outside = cutout_mask(pictures.shape[-1], x[:, :, 0] / strength, y[:, :, 0] / strength, strength)
    translated, inside = translate(pictures, dx[:, :, 0], dy[:, :, 0])
    kept = inside & outside
    return (translated * kept[..., None]).permute(0, 3, 1, 2)


def change_brightness(pictures: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Add half of `amount` (B, 1, 1, 1) to all values."""
    return pictures + amount / 2


def change_saturation(pictures: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Scale each pixel's distance from grey, its mean over the channels, by `1 + amount`."""
    grey = pictures.mean(1, keepdim=True)
    return (pictures - grey) * (1 + amount) + grey


def change_contrast(pictures: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Scale each value's distance from the picture's mean by `1 + amount / 2`."""
    mean = pictures.mean((1, 2, 3), keepdim=True)
    return (pictures - mean) * (1 + amount / 2) + mean


def translate(pictures: torch.Tensor, dx: torch.Tensor, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each pixel (y, x) takes its value from (y + dy, x + dx): the picture moves by (-dy, -dx).

    Args:
        pictures: (B, 3, S, S).
        dx, dy: (B, 1, 1), in eighths of the side.

    Returns:
        The pictures, channels last (B, S, S, 3), and where their values come from inside the picture (B, S, S), bool.
    """
    side = pictures.shape[-1]
    rows, columns = _coordinates(side, pictures.device)
    rows = rows + (dy * side / 8).round().long()
    columns = columns + (dx * side / 8).round().long()
    clamped_rows, clamped_columns = rows.clamp(0, side - 1), columns.clamp(0, side - 1)
    inside = (clamped_rows == rows) & (clamped_columns == columns)
    batch = torch.arange(len(pictures), device=pictures.device).view(-1, 1, 1)
    return pictures.permute(0, 2, 3, 1)[batch, clamped_rows, clamped_columns], inside


def cutout_mask(side: int, x: torch.Tensor, y: torch.Tensor, strength: float) -> torch.Tensor:
    """False inside a square of side `strength * side / 2`, True elsewhere: (B, side, side).

    Args:
        side: the pictures' side, in pixels.
        x, y: (B, 1, 1), the square's centre: -1 is the left or upper edge of the picture, 1 the right or lower one.
        strength: 0 to 1.
    """
    rows, columns = _coordinates(side, x.device)
    vertical = (rows - (1 + y) * side / 2).abs()
    horizontal = (columns - (1 + x) * side / 2).abs()
    return ~((vertical < strength * side / 4) & (horizontal < strength * side / 4))


def _coordinates(side: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers (1, side, 1) and column numbers (1, 1, side)."""
    numbers = torch.arange(side, device=device)
    return numbers.view(1, -1, 1), numbers.view(1, 1, -1)
