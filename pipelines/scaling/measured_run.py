"""A run that measures its steps, its communication and its memory; every worker executes it in place of `Run`."""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Dataset

from labs.core import events
from labs.core.run import Run

M = TypeVar("M", bound=nn.Module)
REPEATS = 20
"""Timed all-reduces, whose median counts, after a few that do not."""


class MeasuredRun(Run):
    """A lab's run that also records these metrics; none of them changes what is learnt.

    | metric | meaning |
    |---|---|
    | `perf/step_s` | seconds of a training step, batch included: of each epoch, and at the end their median |
    | `perf/step_cpu_s` | CPU seconds of a worker's process in it |
    | `perf/samples_per_s` | at the end also the median of the epochs |
    | `perf/gradient_bytes` | size of all gradients together, in fp32 |
    | `perf/all_reduce_s` | seconds of one all-reduce of that size between the workers, while they compute nothing |
    | `perf/latency_s` | the same for a single number |
    | `perf/memory_mb` | most memory of a worker: of its process, or on its GPU |

    The first epoch, in which everything is done for the first time, does not count where there are more.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parameters = 0
        self.passes: list[tuple[int, float, float]] = []
        """Of each of this epoch's passes over training data: steps, seconds, CPU seconds of this process."""
        self.measured: dict[str, float] = {}

    def wrap(self, model: M, **options: Any) -> M:
        self.parameters += sum(p.numel() for p in model.parameters() if p.requires_grad)
        return super().wrap(model, **options)

    def loader(self, dataset: Dataset[Any], batch_size: int, *, train: bool = False) -> Any:
        made = super().loader(dataset, batch_size, train=train)
        return TimedBatches(self, made) if train else made

    def epochs(self, n: int, state: dict[str, Any]) -> Iterator[int]:
        for epoch in super().epochs(n, state):
            self.passes = []
            yield epoch
            self._log_steps()
        self.measured = {**medians(events.read(self.folder)), **self._measure()}

    def finish(self, metrics: Mapping[str, float]) -> None:
        super().finish({**metrics, **self.measured})

    def _log_steps(self) -> None:
        if self.passes:
            steps, seconds, cpu_s = (sum(column) for column in zip(*self.passes, strict=True))
            self.log({"perf/step_s": seconds / steps, "perf/step_cpu_s": cpu_s / steps})

    def _measure(self) -> dict[str, float]:
        """What is measured after the training; all workers call it together."""
        found = {"perf/gradient_bytes": 4.0 * self.parameters, "perf/memory_mb": max(self.gather([self._memory_mb()]))}
        if self.world_size > 1:
            found["perf/all_reduce_s"] = self._all_reduce_s(self.parameters)
            found["perf/latency_s"] = self._all_reduce_s(1)
        return found

    def _all_reduce_s(self, numbers: int) -> float:
        """Seconds of an all-reduce of so many fp32 numbers: the median of some, and of those the workers' mean."""
        values, seconds = torch.zeros(numbers, device=self.device), []
        for _ in range(REPEATS + 3):
            self.barrier()
            self.wait_for_device()
            start = time.perf_counter()
            dist.all_reduce(values)
            self.wait_for_device()
            seconds.append(time.perf_counter() - start)
        return self.mean(median(seconds[3:]))

    def wait_for_device(self) -> None:
        """Wait until a GPU has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _memory_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class TimedBatches:
    """A worker's batches; each full pass over them, with the steps that they are used in, is noted in the run."""

    def __init__(self, run: MeasuredRun, batches: Any) -> None:
        self.run, self.batches = run, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        start, cpu_start = time.perf_counter(), time.process_time()
        yield from self.batches
        self.run.passes.append((len(self), time.perf_counter() - start, time.process_time() - cpu_start))


def medians(written: list[dict[str, Any]]) -> dict[str, float]:
    """Of the speeds that a run's epochs have recorded, without the first epoch where there are more."""
    found = {}
    for name in ("perf/step_s", "perf/step_cpu_s", "perf/samples_per_s"):
        values = [event["metrics"][name] for event in written if name in event["metrics"]]
        if values:
            found[name] = median(values[1:] or values)
    return found
