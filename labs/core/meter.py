"""The mean of a quantity over the samples of an epoch."""

import torch


class Meter:
    """Adds up a quantity that comes batch by batch, weighted by the batch's size.

    The sum stays on the device where the values are, so that adding to it makes no GPU wait; `Run.mean` divides the
    sum by the count over all workers.

    Example:
        >>> loss = Meter()
        >>> loss.add(torch.tensor(2.0), 3)
        >>> loss.add(torch.tensor(6.0), 1)
        >>> float(loss.sum / loss.count)
        3.0
    """

    def __init__(self) -> None:
        self.sum: torch.Tensor | float = 0.0
        self.count = 0

    def add(self, mean: torch.Tensor | float, count: int) -> None:
        """Add a batch: the mean of the quantity over its `count` samples."""
        self.sum = self.sum + (mean.detach() if isinstance(mean, torch.Tensor) else mean) * count
        self.count += count
