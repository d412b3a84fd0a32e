"""The figure of homework 11's report: t-SNE of the features at three stages of the training."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from labs.adaptation.domains import Images, evenly_spaced, random_indices
from labs.adaptation.networks import DiscrepancyNet, Ensemble
from labs.core.plots import COLOURS, legend_beside, styled
from labs.core.run import Run

STAGES = ("early", "middle", "final")
"""Stages of the training whose features the figure shows."""
BATCH = 250
"""Images whose features are computed at once."""
FEW = 500
"""Photographs up to which a panel of the figure is small."""


def stages_at(epoch: int, epochs: int) -> list[str]:
    """The stages that end with this epoch, counted from 1: the first, the middle and the last one."""
    ends = zip(STAGES, (1, (epochs + 1) // 2, epochs), strict=True)
    return [stage for stage, end in ends if end == epoch]


def save_features(
    model: Ensemble | DiscrepancyNet, source: Images, target: Images, names: Sequence[str], count: int, run: Run
) -> None:
    """Save the (first member's) features of at most `count` images of each domain for `deliver`, under these stages'
    names. The photographs are evenly spread over the classes, the drawings random, and the same at every stage."""
    if not names:
        return
    chosen = {"source": evenly_spaced(source, count), "target": random_indices(target, count)}
    with run.evaluation(model) as net:
        if run.rank == 0:
            (photos, labels), (sketches, _) = source[chosen["source"]], target[chosen["target"]]
            tensors = {name: torch.cat([net.features(part.to(run.device)).cpu() for part in images.split(BATCH)])
                       for name, images in (("source", photos), ("target", sketches))}  # fmt: skip
            for stage in names:
                save_file({**tensors, "label": labels}, run.file(f"features/{stage}.safetensors"))


@styled
def feature_maps(stages: Mapping[str, Mapping[str, np.ndarray]], classes: Sequence[str]) -> Figure:
    """t-SNE of each stage's features, a column a stage: photographs by class above, both domains below.

    A class has a colour and a digit: ten colours alone can't be told apart.

    Args:
        stages: name -> features `source` (n, d), their `label` (n,) and features `target` (m, d).
        classes: names of the classes.
    """
    from sklearn.manifold import TSNE

    many = max(len(features["source"]) for features in stages.values()) > FEW
    side, area = (7.2, 16) if many else (3.6, 32)  # inches of a panel, square points of a marker
    figure = Figure(figsize=(side * len(stages) + 1.5, 2 * side + 0.3))
    panels = figure.subplots(2, len(stages), squeeze=False)
    for (by_class, by_domain), (stage, features) in zip(panels.T, stages.items(), strict=True):
        both = np.concatenate([features["source"], features["target"]])
        embedded = TSNE(perplexity=min(30, (len(both) - 1) / 3), max_iter=500, random_state=0).fit_transform(both)
        source, target = np.split(embedded, [len(features["source"])])
        by_class.set_title(f"{stage}: photographs by class")
        for label, name in enumerate(classes):
            x, y = source[features["label"] == label].T
            colour = COLOURS[label % len(COLOURS)]
            by_class.scatter(x, y, s=area, marker=f"${label}$", color=colour, linewidths=0, label=name)
        by_domain.set_title(f"{stage}: by domain")
        by_domain.scatter(*source.T, s=0.45 * area, marker="o", linewidths=0, label="photographs")
        by_domain.scatter(*target.T, s=0.55 * area, marker="x", linewidths=1, label="drawings")
        for axes in (by_class, by_domain):
            axes.set(xticks=[], yticks=[], xlabel="t-SNE, first axis", ylabel="t-SNE, second axis")
    for axes, title in zip(panels[:, -1], ("class", "domain"), strict=True):
        legend_beside(axes, title)
    return figure


def neighbours(features: Mapping[str, torch.Tensor]) -> tuple[float, float]:
    """Of the ten nearest neighbours of a photograph's features, the fraction of its own class among photographs, and
    the fraction of drawings among both domains, which is that of all images where the domains are mixed.

    Args:
        features: as a stage of `feature_maps`.
    """
    source, label, both = features["source"], features["label"], torch.cat([features["source"], features["target"]])
    distances = torch.cdist(source, both)
    distances.fill_diagonal_(math.inf)
    count = len(source)
    near, near_both = (
        part.topk(min(10, count - 1), largest=False).indices for part in (distances[:, :count], distances)
    )
    same_class = (label[near] == label[:, None]).float().mean().item()
    return same_class, (near_both >= count).float().mean().item()
