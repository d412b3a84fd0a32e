"""The figure of homework 3's first report question."""

import torch
from matplotlib.figure import Figure

from labs.shared.vision.augmentation import augment, erase


def augmentation(picture: torch.Tensor, strength: float) -> Figure:
    """A training picture (3, side, side) uint8 and five outputs of the train transform, always the same five."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        changed = erase(augment(picture.expand(5, -1, -1, -1), picture.shape[-1], strength), strength)
    figure = Figure(figsize=(12, 2.4))
    titles = ["training picture", *(f"output {number}" for number in range(1, 6))]
    for axes, title, image in zip(figure.subplots(1, 6), titles, [picture, *changed.byte()], strict=True):
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set_title(title)
        axes.axis("off")
    return figure
