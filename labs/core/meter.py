"""The mean of a quantity over the samples of an epoch."""

import torch

Number = torch.Tensor | float


class Meter:
    """Sum of a quantity that comes batch by batch, and the number of samples that it belongs to.

    The sum stays on the device where the values are, so that adding to it makes no GPU wait. `Run.mean` divides the
    sums of all workers by their counts.

    Example:
        >>> loss = Meter()
        >>> loss.add(torch.tensor(2.0), 3)
        >>> loss.add(torch.tensor(6.0), 1)
        >>> float(loss.sum / loss.count)
        3.0
    """

    def __init__(self) -> None:
        self.sum: Number = 0.0
        self.count: Number = 0

    def add(self, mean: Number, count: int) -> None:
        """Add a batch by the mean of the quantity over its `count` samples."""
        self.add_sum(mean * count, count)

    def add_sum(self, total: Number, count: Number) -> None:
        """Add a batch by the sum of the quantity over its `count` samples, for example correct predictions."""
        self.sum = self.sum + (total.detach() if isinstance(total, torch.Tensor) else total)
        self.count = self.count + count
