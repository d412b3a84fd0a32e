"""A lab's loop as a plain script of torchrun: what `labs scale` measures the program beside.

    python -m torch.distributed.run --standalone --nproc-per-node 2 -m pipelines.scaling.bare_run JOB.json

The network under DDP, the loss, the backward pass and the optimizer are the lab's own. What surrounds them is what a
stock script has: torch's `DataLoader` with a `DistributedSampler`, and a plain loop over the epochs. There is no Ray,
no MLflow, no checkpoint and no event until the end.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, TensorDataset

import labs
from labs.core import events
from labs.core.loader import BatchDataset
from labs.core.precision import tensor_cores
from pipelines.error_file import write_error
from pipelines.job import Job
from pipelines.requests import AbortListener, writer_lock
from pipelines.scaling.measured_run import MeasuredRun, TimedBatches, medians


class BareRun(MeasuredRun):
    """What a lab's `train` is given in a plain script."""

    def loader(self, dataset: Dataset[Any], batch_size: int, *, train: bool = False) -> Any:
        if not train:
            return super().loader(dataset, batch_size)
        return TimedBatches(self, StockBatches(self, dataset, batch_size))

    def epochs(self, n: int, state: dict[str, Any]) -> Iterator[int]:
        written = []
        for self._step in range(n):
            if self._reason:
                break
            self.passes, self._throughput = [], [0, 0.0]
            with tensor_cores(self.precision, self.device):
                yield self._step
            self._log_steps()
            if self._throughput[1]:
                self.log({"perf/samples_per_s": self._throughput[0] / self._throughput[1]})
            written.append({"time": time.time(), "step": self._step + 1, "of": n, "metrics": self._metrics})
            self._metrics = {}
        if self.rank == 0:
            for event in written:
                events.append(self.folder, event)
        self.measured = {**medians(written), **self._measure()}


class StockBatches:
    """A `DataLoader` with a `DistributedSampler`; a data set that can is indexed with a whole batch at once.

    To collate sample by sample, as scripts do, would take longer.
    """

    def __init__(self, run: BareRun, dataset: Dataset[Any], batch_size: int) -> None:
        self.run = run
        self.sampler = DistributedSampler[Any](dataset, run.world_size, run.rank, seed=run.seed)
        local_size = batch_size // run.world_size
        if isinstance(dataset, BatchDataset | TensorDataset):
            batches = BatchSampler(self.sampler, local_size, drop_last=False)
            self.loader = DataLoader[Any](_WholeBatches(dataset), batch_size=None, sampler=batches)
        else:
            self.loader = DataLoader[Any](dataset, local_size, sampler=self.sampler)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        self.sampler.set_epoch(self.run._step)
        start = time.perf_counter()
        for batch in self.loader:
            yield [part.to(self.run.device) for part in batch]
        self.run.wait_for_device()
        self.run._count_samples(len(self.sampler) * self.run.world_size, time.perf_counter() - start)


class _WholeBatches(Dataset[Any]):
    """A data set that is indexed with a list of sample numbers."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, rows: list[int]) -> Any:
        return self.dataset[torch.tensor(rows)]  # type: ignore[index]


def main() -> None:
    """One process of the script: train what the job says, and write what was measured to the run's folder."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    torch.set_num_threads(max(1, int(job.cpus_per_worker)))
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if job.gpus_per_worker else "cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    lab = labs.get(job.lab)
    run = BareRun(job.folder, job.data, seed=job.seed, upstream=job.upstream, device=device, precision=job.precision)
    try:
        with AbortListener(job.folder):
            lock = writer_lock(job.folder)
            if run.rank == 0:
                lock.acquire()
            lab.fit(lab.config.model_validate(job.config), run, test=False)
    except Exception as error:  # whatever the lab raises: the user reads it with its traceback
        write_error(job.folder, error)
        raise
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
