"""Batches for one worker: the configured batch size is the global one, split between the workers."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler, TensorDataset, default_collate

from labs.core.errors import BadInput


class BatchDataset(Dataset[tuple[torch.Tensor, ...]]):
    """A map-style data set that is indexed with a tensor of sample numbers, (B,), and gives one tensor a column.

    A whole batch at once costs one indexing operation; torch's usual way, sample by sample, costs one for each.
    Indexing may not draw from the global random generators: on a GPU a thread does it while a step draws from them.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise NotImplementedError


class ShardedBatches(Sampler[torch.Tensor]):
    """Index tensors of one worker's part of each global batch.

    Training: every worker draws the same permutation from (seed, epoch) and takes an equal, contiguous part of each
    global batch, so that averaging gradients over workers equals one worker on the whole batch. The last batch may be
    smaller; the samples that remain of it after an equal part for each worker (fewer than there are workers) are left
    out in that epoch. Validation: worker r takes samples r, r + N, r + 2N, ...: none is padded, cut or seen twice;
    there the size of a batch only bounds the memory and need not be a multiple of the number of workers.
    """

    def __init__(self, length: int, batch_size: int, *, rank: int, world_size: int, train: bool) -> None:
        if train and batch_size % world_size:
            raise BadInput(f"batch size {batch_size} can't be split evenly between {world_size} workers")
        if train and length < world_size:
            raise BadInput(f"{length} training samples are too few for {world_size} workers")
        self.length, self.local_size = length, max(1, batch_size // world_size)
        self.rank, self.world_size, self.train = rank, world_size, train
        self.order_seed = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        if not self.train:
            own = torch.arange(self.length)[self.rank :: self.world_size]
            yield from (batch for batch in own.split(self.local_size) if len(batch))
            return
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.order_seed))
        for batch in order.split(self.local_size * self.world_size):
            local_size = len(batch) // self.world_size
            if local_size:
                yield batch[self.rank * local_size : (self.rank + 1) * local_size]

    def __len__(self) -> int:
        if not self.train:
            return -(-len(range(self.rank, self.length, self.world_size)) // self.local_size)
        full, rest = divmod(self.length, self.local_size * self.world_size)
        return full + (rest >= self.world_size)


class Loader:
    """One worker's batches on its device; iterating counts the samples and the seconds of training.

    Data are memory-mapped or in memory, so that reading a batch is one indexing operation. torch's DataLoader, even
    without worker processes, would add a third to a small network's step.

    Where another device computes, a thread reads the next batch during a step. On a CPU, which computes the step
    itself, that would not pay: an epoch took 1.15 to 1.25 times the CPU seconds with steps of 1 ms, the same with
    longer ones.

    Args:
        dataset: any map-style data set; see `Run.loader`.
        batches: the sample numbers of each batch.
        device: where the batches go.
        order_seed: called at the start of each pass; seeds the order of the samples.
        count: called at the end of each pass with the samples of all workers and the seconds.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batches: ShardedBatches,
        device: torch.device,
        order_seed: Callable[[], int],
        count: Callable[[int, float], None] | None,
    ) -> None:
        self.dataset, self.batches, self.device = dataset, batches, device
        self.order_seed, self.count = order_seed, count

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        self.batches.order_seed = self.order_seed()
        samples, start = 0, time.perf_counter()
        # A data set that is read sample by sample may draw from the global random generators: it is not read ahead.
        ahead = self.device.type != "cpu" and isinstance(self.dataset, BatchDataset | TensorDataset)
        for indices, batch in self._read_ahead() if ahead else self._read_in_turn():
            samples += len(indices)
            yield batch if self.device.type == "cpu" else tuple(self._move(part) for part in batch)
        if self.count is not None:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # the last steps may still wait on the GPU
            self.count(samples * self.batches.world_size, time.perf_counter() - start)

    def _read_in_turn(self) -> Iterator[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
        """Sample numbers and batch, each read when it is asked for."""
        for indices in self.batches:
            yield indices, self._read(indices)

    def _read_ahead(self) -> Iterator[tuple[torch.Tensor, tuple[torch.Tensor, ...]]]:
        """The same, each read by a thread while the batch before it is in use; the thread ends with the iteration, also
        with one that is left early."""
        with ThreadPoolExecutor(1, "labs-loader") as reader:
            reading = deque[tuple[torch.Tensor, Future[tuple[torch.Tensor, ...]]]]()
            for indices in self.batches:
                reading.append((indices, reader.submit(self._read, indices)))
                if len(reading) > 1:
                    before, batch = reading.popleft()
                    yield before, batch.result()
            for before, batch in reading:
                yield before, batch.result()

    def _read(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The batch of these sample numbers: at once where the data set can, else put together from its samples."""
        if isinstance(self.dataset, TensorDataset | BatchDataset):
            return self.dataset[indices]
        batch = default_collate([self.dataset[index] for index in indices.tolist()])
        if isinstance(batch, torch.Tensor):
            return (batch,)
        if isinstance(batch, list | tuple) and all(isinstance(part, torch.Tensor) for part in batch):
            return tuple(batch)
        name = type(self.dataset).__name__
        raise TypeError(f"{name}[{int(indices[0])}] must be a tensor, a number or a tuple of these, not {batch!r:.60}")

    def _move(self, part: torch.Tensor) -> torch.Tensor:
        if self.device.type == "cuda" and part.is_cpu:
            part = part.pin_memory()  # else the copy would wait for the step
        return part.to(self.device, non_blocking=True)


def hold_out(count: int, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random indices of the held-out samples, a `fraction` of them but at least one, and of the training samples."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = max(1, round(count * fraction))
    return order[:held_out], order[held_out:]
