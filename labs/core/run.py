"""`Run`: everything a training loop is given that is not the lesson. Torch only: no Ray, no MLflow."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Dataset

from labs.core import checkpoint, events
from labs.core.config import Config
from labs.core.cost import count_parameters
from labs.core.distributed import Worker
from labs.core.heading import Metric, Precision
from labs.core.loader import Loader, ShardedBatches
from labs.core.precision import tensor_cores
from labs.core.schedule import scaled_rates
from labs.core.weights import SHAPE, WEIGHTS, unwrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAVE_EVERY_S = 10.0
"""Seconds between two checkpoints: a killed run repeats at most these and one epoch."""
WARM_UP_EPOCHS = 5
"""Longest warm-up; at most a quarter of all epochs."""
STOP = "stop"
"""A file of this name in a run's folder asks the run to save and end after the current epoch."""


class Interrupted(Exception):
    """The run was asked to end and has saved; the same command continues it."""


class Run(Worker):
    """One worker's view of one training run.

    The run's folder, shared by all workers, is the truth about the run: `config.json`, `events.jsonl`, `checkpoints/`,
    `weights.safetensors`, `figures/`, `deliver/` and `delivered.json`, and at the end `result.json`.

    Args:
        folder: the run's folder; started again on the same folder, the run continues from its newest checkpoint.
        data_dir: the lab's prepared data.
        seed: seeds all random generators, together with the rank and the epoch.
        upstream: role -> run folder of a node that this one needs.
        device: where to compute; by default the first GPU, else the CPU.
        precision: number format of the training.
        compiled: whether networks are compiled by torch.compile.
        warm_up_from: fraction of the learning rates that the first epochs begin with; 1 for no warm-up.
        sync_batch_norm: whether batch norm on GPUs has the statistics of all workers.
        on_epoch: called on rank 0 after each epoch with the step and the metrics.
    """

    def __init__(
        self,
        folder: Path,
        data_dir: Path,
        *,
        seed: int = 0,
        upstream: Mapping[str, Path] | None = None,
        device: torch.device | None = None,
        precision: Precision = "auto",
        compiled: bool = False,
        warm_up_from: float = 1.0,
        sync_batch_norm: bool = False,
        on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        super().__init__(device, precision=precision, compiled=compiled, sync_batch_norm=sync_batch_norm)
        self._warm_up_from = warm_up_from
        self.folder, self.data_dir, self.seed = folder, data_dir, seed
        self.epochs_since_best = 0
        self._upstream, self._on_epoch = dict(upstream or {}), on_epoch
        self._best: float | None = None
        self._best_step = 0
        self._kept: dict[str, torch.Tensor] = {}
        self._parameters = 0
        self._step, self._of, self._reason = 0, 0, ""
        self._metrics: dict[str, float] = {}
        self._throughput = [0, 0.0]
        self._last_save = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self._seed_all(0)

    # --- data ------------------------------------------------------------------------------------------------------

    def is_finished(self) -> bool:
        """Whether an earlier start has already brought this run to its end."""
        return (self.folder / "result.json").exists()

    def upstream(self, role: str) -> Path:
        """The run folder of the node that this one needs as `role` (for example `teacher`)."""
        return self._upstream[role]

    def loader(self, dataset: Dataset[Any], batch_size: int, *, train: bool = False) -> Loader:
        """This worker's batches of a map-style data set.

        Args:
            dataset: any map-style data set of torch: `len(dataset)`, and `dataset[i]` gives the tensors of sample i.
                A `TensorDataset`, or a `BatchDataset` of the lab's own, is indexed with a whole batch at once, which
                is many times faster.
            batch_size: the global batch size.
            train: shuffled anew each epoch, in equal parts; otherwise each sample once over all workers.

        Raises:
            BadInput: the batch size can't be split evenly between the workers.
        """
        batches = ShardedBatches(
            len(dataset),  # type: ignore[arg-type]
            batch_size,
            rank=self.rank,
            world_size=self.world_size,
            train=train,
        )
        count = self._count_samples if train else None
        return Loader(dataset, batches, self.device, lambda: self._epoch_seed(rank=0), count)

    # --- epochs ----------------------------------------------------------------------------------------------------

    def epochs(self, n: int, state: dict[str, Any]) -> Iterator[int]:
        """Epoch numbers from where a checkpoint left off up to `n - 1`; saves and reports after each.

        All random generators are seeded from (seed, rank, epoch) at an epoch's start, so that a continued run makes
        the same random draws as an uninterrupted one.

        Args:
            n: epochs in all. What an epoch is (a pass, some steps, a task's pass) is the lab's choice.
            state: name -> object with `state_dict` and `load_state_dict`; `progress` may hold a JSON-able dict, which
                is filled in place when the run continues.

        Raises:
            Interrupted: the run was asked to end; everything is saved.
        """
        # Without DDP's prefix of names, so that a run may continue on another number of workers.
        state = {name: unwrap(part) if isinstance(part, nn.Module) else part for name, part in state.items()}
        if self._scaler.is_enabled():
            state["loss_scale"] = self._scaler
        self._restore(state)
        self._of = n
        for epoch in range(self._step, n):
            if self._reason:
                return
            self._seed_all(epoch)
            start = time.perf_counter()
            with tensor_cores(self.precision, self.device), self._warmed_up(epoch):
                yield epoch
            self._step = epoch + 1
            self._metrics["time/epoch_s"] = time.perf_counter() - start
            if self._throughput[1]:
                self._metrics["perf/samples_per_s"] = self._throughput[0] / self._throughput[1]
            self._report()
            self._save_if_due(state, last=self._step == n)
            self._metrics, self._throughput = {}, [0, 0.0]

    def stop(self, reason: str) -> None:
        """End the training after this epoch, which is saved first; every worker must call it in the same epoch."""
        self._reason = reason

    def log(self, metrics: Mapping[str, float]) -> None:
        """Record metrics of this epoch by name (`train/loss`, `val/<metric>`); those of rank 0 are written."""
        self._metrics.update(metrics)

    def best(self, metric: Metric, model: nn.Module) -> bool:
        """Keep the model's weights if this epoch's `val/<metric>` is the best so far; returns whether it is."""
        value = self._metrics[f"val/{metric.name}"]
        improved = metric.better(value, self._best)
        if improved:
            self._best, self._best_step = value, self._step + 1
            self.keep(model)
        self.epochs_since_best = self._step + 1 - self._best_step
        return improved

    def keep(self, model: nn.Module) -> None:
        """Keep the model's present weights as the run's result (for a lab whose validation metric chooses none)."""
        if self.rank == 0:
            tensors = unwrap(model).state_dict()
            self._kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
            self._parameters = count_parameters(model)

    # --- files -----------------------------------------------------------------------------------------------------

    def figure(self, name: str, figure: "Figure") -> None:
        """Save a plot as `figures/<name>.png` (rank 0)."""
        if self.rank == 0:
            from labs.core.plots import save

            save(figure, self.folder / f"figures/{name}.png")

    def file(self, name: str) -> Path:
        """Path of a file in the run's folder; its parent folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_config(self, config: Config) -> None:
        """Write the config that `load` rebuilds the model from (rank 0)."""
        if self.rank == 0:
            events.write_text(self.folder / "config.json", config.model_dump_json(indent=2))

    def write_shape(self, **shape: Any) -> None:
        """Write what `load` needs beside the config to rebuild the model: sizes that came from the data (rank 0)."""
        if self.rank == 0:
            events.write_text(self.folder / SHAPE, json.dumps(shape))

    @property
    def has_weights(self) -> bool:
        """Whether the weights of some epoch were kept; false if the validation metric was never finite."""
        return bool(self._kept)

    def write_weights(self) -> None:
        """Write the kept weights where `load` finds them."""
        save_file(self._kept, self.folder / WEIGHTS)

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Record the final metrics, with what the kept weights are; from now on the run counts as finished."""
        last = {name: value for event in events.read(self.folder) for name, value in event["metrics"].items()}
        best = {} if self._best is None else {"best/value": self._best, "best/step": self._best_step}
        size = {"model/parameters": float(self._parameters)} if self._kept else {}
        final = {**best, **size, **metrics}
        events.append(self.folder, {"time": time.time(), "step": self._step, "metrics": final})
        result = {"metrics": {**last, **final}, "steps": self._step, "stopped": self._reason}
        events.write_text(self.folder / "result.json", json.dumps(result, indent=2))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _restore(self, state: dict[str, Any]) -> None:
        folder = self.folder / "checkpoints"
        # Rank 0 chooses: each rank for itself might see another newest checkpoint.
        step = int(self.broadcast(torch.tensor(checkpoint.newest(folder) if self.rank == 0 else 0)))
        if step:
            meta, self._kept = checkpoint.restore(folder, step, state)
            self._step, self._best, self._best_step = meta["step"], meta["best"], meta["best_step"]
            self._reason, self._parameters = meta["reason"], meta["parameters"]
            self.epochs_since_best = self._step - self._best_step
        if self.rank == 0:
            events.rewind(self.folder, self._step)
        self.barrier()

    def _warmed_up(self, epoch: int) -> AbstractContextManager[None]:
        """Gradual warm-up: up to epoch W learning rates grow linearly to their own values (Goyal et al.)."""
        # rate(epoch) = rate * (f + (1 - f) * epoch / W)
        epochs = min(WARM_UP_EPOCHS, self._of // 4)
        if self._warm_up_from == 1 or epoch >= epochs:
            return nullcontext()
        return scaled_rates(self._warm_up_from + (1 - self._warm_up_from) * epoch / epochs)

    def _report(self) -> None:
        if self.rank == 0:
            event = {"time": time.time(), "step": self._step, "of": self._of, "metrics": self._metrics}
            events.append(self.folder, event)
            if self._on_epoch is not None:
                self._on_epoch(self._step, self._metrics)

    def _save_if_due(self, state: dict[str, Any], *, last: bool) -> None:
        asked = (self.folder / STOP).exists()
        due = last or bool(self._reason) or time.monotonic() - self._last_save >= SAVE_EVERY_S
        # Rank 0 decides, since clocks and views of the file system may differ.
        asked, due = (bool(flag) for flag in self.broadcast(torch.tensor([asked, due], dtype=torch.int32)).tolist())
        if not (due or asked):
            return
        folder = self.folder / "checkpoints"
        if self.rank == 0:
            meta = {"best": self._best, "best_step": self._best_step, "reason": self._reason,
                    "parameters": self._parameters}  # fmt: skip
            checkpoint.save(folder, self._step, state, self._kept, meta)
        self.barrier()
        self._last_save = time.monotonic()
        if asked and not last:
            raise Interrupted

    def _count_samples(self, samples: int, seconds: float) -> None:
        self._throughput[0] += samples
        self._throughput[1] += seconds

    def _epoch_seed(self, rank: int) -> int:
        return int(np.random.SeedSequence([self.seed, rank, self._step]).generate_state(1)[0])

    def _seed_all(self, epoch: int) -> None:
        self._step = epoch
        seed = self._epoch_seed(self.rank)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
