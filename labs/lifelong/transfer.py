"""Forgetting and transfer between tasks, from the matrix of accuracies.

Row i of the matrix R, from 0, has the accuracies on all T tasks after i tasks were learnt; row 0 is the untrained
network's. During training the last row, k, is that of the present network, and the tasks 0 to k - 1 count as seen.
Accuracies are in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence

Matrix = Sequence[Sequence[float]]


def mean_accuracy(matrix: Matrix) -> float:
    """The mean of R[k][j] over the tasks seen, j < k."""
    seen = matrix[-1][: len(matrix) - 1]
    return sum(seen) / len(seen)


def forgetting(matrix: Matrix) -> float:
    """Accuracy that earlier tasks lost since their best: max over j < i < k of R[i][j] - R[k][j], mean over j < k - 1.

    Chaudhry et al., Riemannian Walk (arXiv:1801.10112); lower is better.
    """
    return _mean(matrix, lambda task: max(row[task] for row in matrix[task + 1 : -1]) - matrix[-1][task])


def backward_transfer(matrix: Matrix) -> float:
    """The influence of later tasks on earlier ones: R[k][j] - R[j + 1][j], mean over j < k - 1.

    Lopez-Paz & Ranzato, Gradient Episodic Memory (arXiv:1706.08840); negative where tasks are forgotten.
    """
    return _mean(matrix, lambda task: matrix[-1][task] - matrix[task + 1][task])


def forward_transfer(matrix: Matrix) -> float:
    """The influence of earlier tasks on one not yet learnt, against the untrained network: R[j][j] - R[0][j], mean over
    0 < j < k.

    Lopez-Paz & Ranzato as well; higher is better.
    """
    return _mean(matrix, lambda task: matrix[task + 1][task + 1] - matrix[0][task + 1])


MEASURES: Mapping[str, Callable[[Matrix], float]] = {
    "forgetting": forgetting,
    "backward_transfer": backward_transfer,
    "forward_transfer": forward_transfer,
}
"""Metric, without `val/` -> its function; defined from the second task on."""


def _mean(matrix: Matrix, value: Callable[[int], float]) -> float:
    tasks = range(len(matrix) - 2)
    return sum(map(value, tasks)) / len(tasks)
