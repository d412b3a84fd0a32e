"""The figures of homework 9: pictures side by side, a row for each way to look at them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

from labs.explain import filters
from labs.explain.data import CLASSES

OVERLAID = ("lime", "gradcam")
"""Methods that speak of regions: their maps are drawn over the pictures."""


def write_table(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A row of scores for each method."""
    with file.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows)


def write_sheets(
    out: Path,
    model: nn.Module,
    images: torch.Tensor,
    maps: Mapping[str, torch.Tensor],
    titles: Sequence[str],
    steps: int,
) -> None:
    """Write `methods.png`, the maps of all methods, and `filters.png`, what two filters look at.

    Args:
        model: the classifier; on any device.
        images: (N, 3, H, W) uint8, on the CPU.
        maps: method -> (N, H, W), on the CPU.
        titles: one for each picture.
        steps: steps of gradient ascent.
    """
    drawn = {name: overlaid(images, part) if name in OVERLAID else part for name, part in maps.items()}
    device = next(model.parameters()).device
    looked = {}
    for name, layer in filters.chosen(model).items():
        looked[f"{name}\nanswers"] = filters.activation(model, layer, images.to(device)).cpu()
        looked[f"{name}\nascent"] = filters.ascend(model, layer, images.to(device), steps).cpu()
    for name, rows in (("methods", drawn), ("filters", looked)):
        figure = sheet({"picture": images, **rows}, titles)
        figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")


def title(row: Mapping[str, Any], classes: int) -> str:
    """Name of a picture, and which of so many classes the classifier sees in it, how surely."""
    seen = row["predicted"]
    name = CLASSES[seen] if classes == len(CLASSES) else f"class {seen}"
    return f"{row['file']}\n{name}\n{row['probability']:.0%}"


def sheet(rows: Mapping[str, torch.Tensor], titles: Sequence[str]) -> Figure:
    """Pictures and maps in a grid, drawn as one image: axes for each of them would take seconds.

    Args:
        rows: name -> pictures (N, 3, H, W), values 0 to 255, or maps (N, h, w) of any values.
        titles: what stands above each of the N columns.
    """
    side = next(iter(rows.values())).shape[-1]
    drawn = [part.float() / 255 if part.dim() == 4 else coloured(part) for part in rows.values()]
    cells = torch.stack([F.pad(F.interpolate(part, (side, side)), (1, 1, 1, 1), value=1.0) for part in drawn])
    grid = cells.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows, N, 3, s, s) -> (rows s, N s, 3)
    figure = Figure(figsize=(1.4 * len(titles) + 1.5, 1.4 * len(rows) + 0.5))
    axes = figure.subplots()
    axes.imshow(grid.numpy())
    middle = (side + 2) / 2
    axes.set_yticks([middle + (side + 2) * row for row in range(len(rows))], list(rows))
    axes.set_xticks([middle + (side + 2) * column for column in range(len(titles))], titles, fontsize=8)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    return figure


def coloured(maps: torch.Tensor) -> torch.Tensor:
    """Maps (N, h, w) as pictures (N, 3, h, w), values 0 to 1, each over its own range: where a classifier is sure its
    gradients are tiny. Dark to bright; of signed maps red for the class, blue against it, white for 0."""
    flat = maps.detach().flatten(1)
    if signed := bool((maps < 0).any()):
        low, reach = -flat.abs().amax(1), 2 * flat.abs().amax(1)
    else:
        low, reach = flat.amin(1), flat.amax(1) - flat.amin(1)
    scaled = (maps.detach() - low[:, None, None]) / reach.clamp(min=1e-30)[:, None, None]
    colours = matplotlib.colormaps["RdBu_r" if signed else "inferno"](scaled.numpy())[..., :3]
    return torch.from_numpy(colours).float().permute(0, 3, 1, 2)


def overlaid(images: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Maps (N, H, W) over their pictures (N, 3, H, W) in grey: (N, 3, H, W), values 0 to 255."""
    return 0.4 * images.float().mean(1, keepdim=True) + 0.6 * 255 * coloured(maps)
