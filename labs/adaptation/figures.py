"""The figure of homework 11's report: t-SNE of the features at three stages of the training."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from safetensors.torch import save_file

from labs.adaptation.domains import Images, evenly_spaced
from labs.adaptation.networks import Ensemble
from labs.core.run import Run

STAGES = ("early", "middle", "final")
"""Stages of the training whose features the figure shows."""
PLOTTED = 250
"""Number of images of each domain in the figure."""


def save_features(model: Ensemble, source: Images, target: Images, epoch: int, epochs: int, run: Run) -> None:
    """In the first, the middle and the last epoch, save the first member's features of some images for `deliver`."""
    for stage, at in zip(STAGES, (1, (epochs + 1) // 2, epochs), strict=True):
        if epoch != at:
            continue
        with run.evaluation(model) as net:
            if run.rank == 0:
                (photos, labels), (sketches, _) = (
                    domain[evenly_spaced(domain, PLOTTED)] for domain in (source, target)
                )
                tensors = {name: net.features(images.to(run.device)).cpu().contiguous()
                           for name, images in (("source", photos), ("target", sketches))}  # fmt: skip
                save_file({**tensors, "label": labels}, run.file(f"features/{stage}.safetensors"))


def feature_maps(stages: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """t-SNE of each stage's features, a column a stage: photographs coloured by class above, both domains below.

    Args:
        stages: name -> features `source` (n, d), their `label` (n,) and features `target` (m, d).
    """
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(4 * len(stages), 8))
    for column, (stage, features) in enumerate(stages.items(), 1):
        both = np.concatenate([features["source"], features["target"]])
        embedded = TSNE(perplexity=min(30, (len(both) - 1) / 3), max_iter=500, random_state=0).fit_transform(both)
        source, target = np.split(embedded, [len(features["source"])])
        by_class = figure.add_subplot(2, len(stages), column, title=f"{stage}: photographs by class")
        by_class.scatter(source[:, 0], source[:, 1], c=features["label"], cmap="tab10", s=6)
        by_domain = figure.add_subplot(2, len(stages), len(stages) + column, title=f"{stage}: by domain")
        by_domain.scatter(source[:, 0], source[:, 1], s=6, label="photographs")
        by_domain.scatter(target[:, 0], target[:, 1], s=6, label="drawings")
        by_domain.legend()
        for axes in (by_class, by_domain):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
