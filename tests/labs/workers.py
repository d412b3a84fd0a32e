"""A lab's training loop on plain gloo processes: what several workers learn, without starting Ray."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import labs
from labs.core import events
from labs.core.config import Config
from labs.core.run import Run
from labs.core.weights import unwrap


class Watched(Run):
    """A run that shows the model which it wrapped."""

    def wrap(self, model: Any) -> Any:
        self.model: nn.Module = super().wrap(model)
        return self.model


def train_on(
    workers: int, lab: str, config: Config, data_dir: Path, folder: Path, upstream: Mapping[str, Path] | None = None
) -> list[dict[str, torch.Tensor]]:
    """Train, on two processes or in this one; the parameters of the model as each worker has them at the end."""
    folder.mkdir()
    if workers == 1:
        _work(0, 1, lab, config, data_dir, folder, upstream)
    else:
        torch.multiprocessing.spawn(_work, (workers, lab, config, data_dir, folder, upstream), nprocs=workers)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(workers)]


def last_metrics(folder: Path) -> dict[str, float]:
    """What the last epoch logged, without times."""
    metrics = events.read(folder)[-1]["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith(("train/", "val/"))}


def _work(
    rank: int, workers: int, lab: str, config: Config, data_dir: Path, folder: Path, upstream: Mapping[str, Path] | None
) -> None:
    torch.set_num_threads(1)
    if workers > 1:
        store = f"file://{folder}/store"
        dist.init_process_group("gloo", store, timedelta(seconds=60), rank=rank, world_size=workers)
    run = Watched(folder, data_dir, seed=3, upstream=upstream, device=torch.device("cpu"))
    labs.get(lab).train(config, run)
    torch.save(dict(unwrap(run.model).named_parameters()), folder / f"rank{rank}.pt")
    if workers > 1:
        dist.destroy_process_group()
