"""The figure of the adaptation lab's report questions: where the features lie at three stages of the training."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure


def feature_maps(stages: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """t-SNE of each stage's features, above coloured by class (photographs), below by domain.

    Args:
        stages: name -> `source` (n, d), their `label` (n,) and `target` (m, d).
    """
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(4 * len(stages), 8))
    for column, (stage, features) in enumerate(stages.items(), 1):
        both, photographs = np.concatenate([features["source"], features["target"]]), len(features["source"])
        places = TSNE(perplexity=min(30, (len(both) - 1) / 3), max_iter=500, random_state=0).fit_transform(both)
        source, target = places[:photographs], places[photographs:]
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
