"""Batches for one worker: the configured batch size is the global one, split between the workers."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from labs.core.errors import BadInput


class ShardedBatches(Sampler[torch.Tensor]):
    """Index tensors of one worker's share of each global batch.

    Training: every worker draws the same permutation from (seed, epoch) and takes an equal, contiguous share of each
    global batch, so that averaging gradients over workers equals one worker on the whole batch. The last batch may be
    smaller; what remains of it after an equal share for each worker (fewer samples than workers) is left out in that
    epoch. Validation: worker r takes samples r, r + N, r + 2N, ...: none is padded, cut or seen twice;
    there the size of a batch is only a bound on memory and need not be a multiple of the number of workers.
    """

    def __init__(self, length: int, batch_size: int, *, rank: int, world_size: int, train: bool) -> None:
        if train and batch_size % world_size:
            raise BadInput(f"batch size {batch_size} can't be split evenly between {world_size} workers")
        if train and length < world_size:
            raise BadInput(f"{length} training samples are too few for {world_size} workers")
        self.length, self.share = length, max(1, batch_size // world_size)
        self.rank, self.world_size, self.train = rank, world_size, train
        self.order_seed = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        if not self.train:
            own = torch.arange(self.length)[self.rank :: self.world_size]
            yield from (batch for batch in own.split(self.share) if len(batch))
            return
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.order_seed))
        for batch in order.split(self.share * self.world_size):
            share = len(batch) // self.world_size
            if share:
                yield batch[self.rank * share : (self.rank + 1) * share]

    def __len__(self) -> int:
        if not self.train:
            return -(-len(range(self.rank, self.length, self.world_size)) // self.share)
        full, rest = divmod(self.length, self.share * self.world_size)
        return full + (rest >= self.world_size)


class Loader:
    """One worker's batches on its device; iterating counts the samples and the seconds of training.

    Data are memory-mapped or in memory, so a batch is an index away: torch's DataLoader, even without processes of its
    own, would add a third to a small network's step.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batches: ShardedBatches,
        device: torch.device,
        order_seed: Callable[[], int],
        meter: Callable[[int, float], None] | None,
    ) -> None:
        self.dataset, self.batches, self.device = dataset, batches, device
        self.order_seed, self.meter = order_seed, meter

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        self.batches.order_seed = self.order_seed()
        samples, start = 0, time.perf_counter()
        for indices in self.batches:
            batch = self.dataset[indices]
            samples += len(indices)
            yield batch if self.device.type == "cpu" else tuple(self._move(part) for part in batch)
        if self.meter is not None:
            self.meter(samples * self.batches.world_size, time.perf_counter() - start)

    def _move(self, part: torch.Tensor) -> torch.Tensor:
        return part if part.is_cuda else part.pin_memory().to(self.device, non_blocking=True)
