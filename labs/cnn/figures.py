"""The figure of homework 3's first report question."""

import torch
from matplotlib.figure import Figure

from labs.core.plots import styled
from labs.shared.vision.augmentation import augment, erase


@styled
def augmentation(image: torch.Tensor, strength: float) -> Figure:
    """A training image (3, side, side) uint8 and five augmented copies of it, drawn with a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        augmented = erase(augment(image.expand(5, -1, -1, -1), image.shape[-1], strength), strength)
    figure = Figure(figsize=(12, 2.5))
    titles = ["training image", *(f"augmented {number}" for number in range(1, 6))]
    for axes, title, shown in zip(figure.subplots(1, 6), titles, [image, *augmented.byte()], strict=True):
        axes.imshow(shown.permute(1, 2, 0).numpy())
        axes.set_title(title)
        axes.axis("off")
    figure.suptitle(f"Random augmentation of strength {strength:g}")
    return figure
