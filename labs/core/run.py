"""`Run`: what a training loop is given that is not the lesson. Torch only: no Ray, no MLflow."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset

from labs.core import checkpoint, events
from labs.core.loader import Loader, ShardedBatches
from labs.core.weights import SHAPE, WEIGHTS, unwrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from labs.core.config import Config
    from labs.core.heading import Metric

M = TypeVar("M", bound=nn.Module)
SAVE_EVERY_S = 10.0
"""Seconds between two checkpoints; what a killed run has to do again at most, plus one epoch."""
STOP = "stop"
"""A file of this name in a run's folder asks the run to save and end after the current epoch."""


class Interrupted(Exception):
    """The run was asked to end and has saved; the same command continues it."""


OnSave = Callable[[int, dict[str, float], Path], None]


class Run:
    """One worker's view of one training run.

    The process group, if any, must exist before: rank and world size come from it. The run's folder, shared by all
    workers, holds the truth about the run: `config.json`, `events.jsonl`, `checkpoints/`, `weights.safetensors`,
    `figures/`, `deliver/` and at the end `result.json`.

    Args:
        folder: the run's folder; started again on the same folder, the run continues where it was saved.
        data_dir: the lab's prepared data.
        seed: seeds everything random, together with the rank and the epoch.
        upstream: role -> run folder of a node that this one needs.
        device: where to compute; the first GPU, else the CPU, by default.
        on_save: called on every worker after each checkpoint with step, that epoch's metrics and the checkpoint.
        on_epoch: called on rank 0 after each epoch with step and metrics.
    """

    def __init__(
        self,
        folder: Path,
        data_dir: Path,
        *,
        seed: int = 0,
        upstream: Mapping[str, Path] | None = None,
        device: torch.device | None = None,
        on_save: OnSave | None = None,
        on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        self.folder, self.data_dir, self.seed = folder, data_dir, seed
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.rank, self.world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.epochs_since_best = 0
        self._upstream, self._on_save, self._on_epoch = dict(upstream or {}), on_save, on_epoch
        self._best: float | None = None
        self._best_step = 0
        self._kept: dict[str, torch.Tensor] = {}
        self._step, self._of, self._reason = 0, 0, ""
        self._metrics: dict[str, float] = {}
        self._metered = [0, 0.0]
        self._last_save = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self._seed_all(0)

    # --- facts -----------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether an earlier start has already brought this run to its end."""
        return (self.folder / "result.json").exists()

    def upstream(self, role: str) -> Path:
        """The run folder of the node that this one needs as `role` (for example `teacher`)."""
        return self._upstream[role]

    # --- models and data -------------------------------------------------------------------------------------------

    def wrap(self, model: M) -> M:
        """The model on this worker's device, in bf16 autocast on a GPU, under DDP where there are several workers;
        those all begin with rank 0's weights, as their random generators differ.

        Batch statistics are each worker's own until `evaluation` spreads rank 0's: a broadcast before every step would
        cost one collective more and change nothing that is kept.
        """
        model = model.to(self.device)
        if self.device.type == "cuda":
            model.forward = _autocast(model.forward)
        if self.world_size == 1:
            return model
        device_ids = [self.device] if self.device.type == "cuda" else None
        return cast(M, DistributedDataParallel(model, device_ids=device_ids, broadcast_buffers=False))

    @contextmanager
    def evaluation(self, model: M) -> Iterator[M]:
        """The bare module in eval mode without gradients, with rank 0's buffers (batch statistics) on all workers.

        Going through DDP's own forward instead would wait for as many forwards on every worker, and validation
        shards differ in length.
        """
        module = cast(M, unwrap(model))
        if self.world_size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0)
        was_training = module.training
        module.eval()
        with torch.no_grad():
            yield module
        module.train(was_training)

    def loader(self, dataset: Dataset[Any], batch_size: int, *, train: bool = False) -> Loader:
        """This worker's batches of a map-style data set whose `__getitem__` takes a tensor of indices.

        Args:
            dataset: gives a tuple of tensors, samples first, for a tensor of indices.
            batch_size: the global batch size.
            train: shuffled anew each epoch, in equal shares; otherwise each sample once over all workers.

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
        return Loader(dataset, batches, self.device, lambda: self._epoch_seed(rank=0), self._meter if train else None)

    # --- collectives -----------------------------------------------------------------------------------------------

    def mean(self, total: torch.Tensor | float, count: torch.Tensor | float = 1) -> float:
        """Sum of totals over sum of counts, both over all workers: exact however unevenly samples are spread."""
        pair = torch.stack([torch.as_tensor(x, dtype=torch.float64, device="cpu").detach() for x in (total, count)])
        if self.world_size > 1:
            pair = pair.to(self.device)
            dist.all_reduce(pair)
        return float(pair[0] / pair[1])

    def average(self, value: torch.Tensor) -> torch.Tensor:
        """The workers' mean of a tensor, left on the device: what a loss is divided by must not make a GPU wait."""
        if self.world_size == 1:
            return value
        total = value.to(torch.float32, copy=True)
        dist.all_reduce(total)
        return total / self.world_size

    def gather(self, objects: list[Any]) -> list[Any]:
        """All workers' lists joined in the order of ranks, on every worker."""
        if self.world_size == 1:
            return objects
        parts: list[list[Any]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, objects)
        return [item for part in parts for item in part]

    def sync_gradients(self, model: nn.Module) -> None:
        """Average the gradients over the workers in one flat all-reduce.

        For losses that don't go through `wrap`'s forward (`functional_call`, gradient penalties): DDP leaves those
        unsynchronised without an error.
        """
        if self.world_size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world_size
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def barrier(self) -> None:
        """Wait until every worker is here."""
        if self.world_size > 1:
            dist.barrier()

    # --- epochs ----------------------------------------------------------------------------------------------------

    def epochs(self, n: int, state: dict[str, Any]) -> Iterator[int]:
        """Epoch numbers from where a checkpoint left off up to `n - 1`; saves and reports after each.

        All random generators are seeded from (seed, rank, epoch) at an epoch's start, so that a continued run makes
        the same draws as an undisturbed one.

        Args:
            n: epochs in all. What an epoch is (a pass, some steps, a task's pass) is the lab's choice.
            state: name -> object with `state_dict` and `load_state_dict`; `progress` may hold a JSON-able dict, which
                is filled in place when the run continues.

        Raises:
            Interrupted: the run was asked to end; everything is saved.
        """
        self._restore(state)
        self._of = n
        for epoch in range(self._step, n):
            if self._reason:
                return
            self._seed_all(epoch)
            start = time.perf_counter()
            yield epoch
            self._step = epoch + 1
            self._metrics["time/epoch_s"] = time.perf_counter() - start
            if self._metered[1]:
                self._metrics["perf/samples_per_s"] = self._metered[0] / self._metered[1]
            self._report()
            self._save_if_due(state, last=self._step == n)
            self._metrics, self._metered = {}, [0, 0.0]

    def stop(self, reason: str) -> None:
        """End the training after this epoch, saved; call it on every worker alike."""
        self._reason = reason

    def log(self, metrics: Mapping[str, float]) -> None:
        """Metrics of this epoch, by name (`train/loss`, `val/<metric>`); the same on every worker, rank 0's count."""
        self._metrics.update(metrics)

    def best(self, metric: "Metric", model: nn.Module) -> bool:
        """Keep the model's weights if this epoch's `val/<metric>` is the best so far; says whether it was."""
        value = self._metrics[f"val/{metric.name}"]
        improved = metric.better(value, self._best)
        if improved:
            self._best, self._best_step = value, self._step + 1
            self.keep(model)
        self.epochs_since_best = self._step + 1 - self._best_step
        return improved

    def keep(self, model: nn.Module) -> None:
        """Keep the model's present weights as what the run ends with (where no validation metric chooses)."""
        if self.rank == 0:
            tensors = unwrap(model).state_dict()
            self._kept = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}

    # --- files -----------------------------------------------------------------------------------------------------

    def figure(self, name: str, figure: "Figure") -> None:
        """Save a plot as `figures/<name>.png` (rank 0)."""
        if self.rank == 0:
            path = self.file(f"figures/{name}.png")
            figure.savefig(path, dpi=100, bbox_inches="tight")

    def file(self, name: str) -> Path:
        """Path for a file of the run's own, its parent folder made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_config(self, config: "Config") -> None:
        """Write the config that `load` rebuilds the model from (rank 0)."""
        if self.rank == 0:
            events.write_text(self.folder / "config.json", config.model_dump_json(indent=2))

    def write_shape(self, **shape: Any) -> None:
        """Write what `load` needs beside the config to rebuild the model: sizes that came from the data (rank 0)."""
        if self.rank == 0:
            events.write_text(self.folder / SHAPE, json.dumps(shape))

    @property
    def has_weights(self) -> bool:
        """Whether some epoch's weights were kept: none is where the validation metric never was finite."""
        return bool(self._kept)

    def write_weights(self) -> None:
        """Write the kept weights where `load` finds them."""
        save_file(self._kept, self.folder / WEIGHTS)

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Record the final metrics; from now on the run counts as finished."""
        last = {name: value for event in events.read(self.folder) for name, value in event["metrics"].items()}
        events.append(self.folder, {"time": time.time(), "step": self._step, "metrics": dict(metrics)})
        best = {} if self._best is None else {"best/value": self._best, "best/step": self._best_step}
        result = {"metrics": {**last, **best, **metrics}, "steps": self._step, "stopped": self._reason}
        events.write_text(self.folder / "result.json", json.dumps(result, indent=2))

    # --- inside ----------------------------------------------------------------------------------------------------

    def _restore(self, state: dict[str, Any]) -> None:
        found = checkpoint.restore(self.folder / "checkpoints", state)
        if found is not None:
            meta, self._kept = found
            self._step, self._best, self._best_step = meta["step"], meta["best"], meta["best_step"]
            self._reason = meta["reason"]
            self.epochs_since_best = self._step - self._best_step
        if self.rank == 0:
            events.rewind(self.folder, self._step)
        self.barrier()

    def _report(self) -> None:
        if self.rank == 0:
            event = {"time": time.time(), "step": self._step, "of": self._of, "metrics": self._metrics}
            events.append(self.folder, event)
            if self._on_epoch is not None:
                self._on_epoch(self._step, self._metrics)

    def _save_if_due(self, state: dict[str, Any], *, last: bool) -> None:
        asked = (self.folder / STOP).exists()
        due = last or bool(self._reason) or time.monotonic() - self._last_save >= SAVE_EVERY_S
        if self.world_size > 1:  # rank 0 decides: clocks and file systems need not agree
            flags = torch.tensor([asked, due], dtype=torch.int32, device=self.device)
            dist.broadcast(flags, 0)
            asked, due = (bool(flag) for flag in flags.tolist())
        if not (due or asked):
            return
        folder = self.folder / "checkpoints"
        path = folder / f"step-{self._step:06d}"
        if self.rank == 0:
            meta = {"best": self._best, "best_step": self._best_step, "reason": self._reason}
            checkpoint.save(folder, self._step, state, self._kept, meta)
        self.barrier()
        self._last_save = time.monotonic()
        if self._on_save is not None:
            self._on_save(self._step, dict(self._metrics), path)
        if asked and not last:
            raise Interrupted

    def _meter(self, samples: int, seconds: float) -> None:
        self._metered[0] += samples
        self._metered[1] += seconds

    def _epoch_seed(self, rank: int) -> int:
        return int(np.random.SeedSequence([self.seed, rank, self._step]).generate_state(1)[0])

    def _seed_all(self, epoch: int) -> None:
        self._step = epoch
        seed = self._epoch_seed(self.rank)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def _autocast(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` in bf16, with outputs back in fp32: losses lose too much in bf16."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cuda", torch.bfloat16):
            outputs = forward(*args, **kwargs)
        return tree_map(lambda x: x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x, outputs)

    return wrapped
