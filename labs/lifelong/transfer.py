"""What learning tasks one after the other costs and gives, from the matrix of accuracies.

Row i of a matrix R, from 0, has the accuracies on all T tasks after i tasks; row 0 is the untrained network's. Of an
unfinished training the matrix ends with the present row, k: tasks 0 to k - 1 were seen. Accuracies are in [0, 1].
"""

from collections.abc import Callable, Sequence

Matrix = Sequence[Sequence[float]]


def mean_accuracy(matrix: Matrix) -> float:
    """Over the tasks seen."""
    seen = matrix[-1][: len(matrix) - 1]
    return sum(seen) / len(seen)


def forgetting(matrix: Matrix) -> float:
    """What the earlier tasks lost since they were known best: max over i > j of R[i][j] - R[k][j], mean over j < k - 1.

    Chaudhry et al., Riemannian Walk (arXiv:1801.10112); lower is better.
    """
    return _mean(matrix, lambda task: max(row[task] for row in matrix[task + 1 : -1]) - matrix[-1][task])


def backward_transfer(matrix: Matrix) -> float:
    """What later tasks did to the earlier ones: R[k][j] - R[j + 1][j], mean over j < k - 1.

    Lopez-Paz & Ranzato, Gradient Episodic Memory (arXiv:1706.08840); negative where tasks are forgotten.
    """
    return _mean(matrix, lambda task: matrix[-1][task] - matrix[task + 1][task])


def forward_transfer(matrix: Matrix) -> float:
    """What earlier tasks gave to one not yet learnt, against the untrained network: R[j][j] - R[0][j], 0 < j < k.

    Lopez-Paz & Ranzato as well; higher is better.
    """
    return _mean(matrix, lambda task: matrix[task + 1][task + 1] - matrix[0][task + 1])


def _mean(matrix: Matrix, value: Callable[[int], float]) -> float:
    tasks = range(len(matrix) - 2)
    return sum(map(value, tasks)) / len(tasks)
