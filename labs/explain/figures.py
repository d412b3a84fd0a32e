"""Figures of homework 9's first half: images and their attribution maps in a grid."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from labs.core.demo import class_names
from labs.core.plots import styled
from labs.explain.data import CLASSES
from labs.explain.filters import activation, early_and_late_convolution, maximise_activation

OVERLAID = ("lime", "gradcam")
"""Methods whose maps consist of regions: they are drawn over the images."""


def image_figures(
    model: nn.Module, images: torch.Tensor, maps: Mapping[str, torch.Tensor], titles: Sequence[str], steps: int
) -> dict[str, Figure]:
    """`methods`, the maps of all methods, and `filters`, two filters' activations and the images that maximise them.

    Args:
        model: the classifier; on any device.
        images: (N, 3, H, W) uint8, on the CPU.
        maps: method -> (N, H, W), on the CPU.
        titles: one for each image.
        steps: steps of gradient ascent.
    """
    methods = {name: overlay(images, part) if name in OVERLAID else part for name, part in maps.items()}
    inputs = images.to(next(model.parameters()).device)
    filters = {}
    for name, layer in early_and_late_convolution(model).items():
        filters[f"{name}\nactivation"] = activation(model, layer, inputs).cpu()
        filters[f"{name}\nmaximised"] = maximise_activation(model, layer, inputs, steps).cpu()
    colours = (
        "bright: important; where a map has both signs, red raises the logit of the predicted class, blue lowers it"
    )
    filter_colours = "activation of the first filter: red positive, blue negative; images after gradient ascent on it"
    return {
        "methods": image_grid({"image": images, **methods}, titles, colours),
        "filters": image_grid({"image": images, **filters}, titles, filter_colours),
    }


def title(row: Mapping[str, Any], classes: int) -> str:
    """File name, true and predicted class, and the probability of the latter, of an image's row of scores.

    Args:
        row: as in `statistics.json`; the file's name begins with the true class.
        classes: number of the classifier's classes.
    """
    names = class_names(CLASSES, classes)
    true = int(row["file"].split("_")[0])
    return (
        f"{row['file']}\ntrue: {names[true] if true < classes else f'class {true}'}\n"
        f"predicted, {row['probability']:.0%}:\n{names[row['predicted']]}"
    )


@styled
def image_grid(rows: Mapping[str, torch.Tensor], titles: Sequence[str], caption: str) -> Figure:
    """Images and maps in a grid. It is drawn as a single image, as separate axes for each cell would take seconds.

    Args:
        rows: name -> images (N, 3, H, W), values 0 to 255, or maps (N, h, w) of any values.
        titles: of the N columns.
        caption: what the colours mean, below the grid.
    """
    side = next(iter(rows.values())).shape[-1]
    coloured = [row.float() / 255 if row.dim() == 4 else apply_colormap(row) for row in rows.values()]
    cells = torch.stack([F.pad(F.interpolate(row, (side, side)), (1, 1, 1, 1), value=1.0) for row in coloured])
    grid = cells.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows, N, 3, s, s) -> (rows s, N s, 3)
    figure = Figure(figsize=(1.4 * len(titles) + 1.8, 1.4 * len(rows) + 1.2))
    axes = figure.subplots()
    axes.imshow(grid.numpy())
    middle = (side + 2) / 2
    axes.set_yticks([middle + (side + 2) * row for row in range(len(rows))], list(rows))
    axes.set_xticks([middle + (side + 2) * column for column in range(len(titles))], titles, fontsize=9)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(caption)
    return figure


def apply_colormap(maps: torch.Tensor) -> torch.Tensor:
    """Maps (N, h, w) as images (N, 3, h, w), values 0 to 1.

    Each map is scaled to its own range, as gradients are tiny where the classifier is confident. Maps without negative
    values run from dark to bright; signed maps are red where the logit rises, blue where it falls, and white at 0.
    """
    flat = maps.detach().flatten(1)
    if signed := bool((maps < 0).any()):
        low, extent = -flat.abs().amax(1), 2 * flat.abs().amax(1)
    else:
        low, extent = flat.amin(1), flat.amax(1) - flat.amin(1)
    scaled = (maps.detach() - low[:, None, None]) / extent.clamp(min=1e-30)[:, None, None]
    colours = matplotlib.colormaps["RdBu_r" if signed else "inferno"](scaled.numpy())[..., :3]
    return torch.from_numpy(colours).float().permute(0, 3, 1, 2)


def overlay(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Maps (N, H, W) over their images (N, 3, H, W) in grey: (N, 3, H, W), values 0 to 255."""
    return 0.4 * images.float().mean(1, keepdim=True) + 0.6 * 255 * apply_colormap(maps)
