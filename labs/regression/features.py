"""Feature selection: a score for each column of the survey, computed on the training rows."""

from typing import Literal

import numpy as np

Selector = Literal["f_score", "trees"]


def relevance(columns: np.ndarray, targets: np.ndarray, selector: Selector) -> np.ndarray:
    """How relevant each column is to the targets; a higher score is more relevant.

    `f_score` is the F statistic of a linear regression on the column alone, F = (n - 2) r^2 / (1 - r^2) with the
    correlation r. `trees` is the impurity importance in extremely randomized trees (Geurts et al.,
    doi:10.1007/s10994-006-6226-1), which also find columns that matter only in an interaction with others.

    Args:
        columns: (rows, columns).
        targets: (rows,).

    Returns:
        (columns,).
    """
    if selector == "f_score":
        from sklearn.feature_selection import f_regression  # 2 s to import, and only some presets select

        scores: np.ndarray = f_regression(columns, targets)[0]
    else:
        from sklearn.ensemble import ExtraTreesRegressor

        trees = ExtraTreesRegressor(100, min_samples_leaf=5, random_state=0)
        scores = trees.fit(columns, targets).feature_importances_
    return scores
