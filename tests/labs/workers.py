"""A lab's training loop on two plain gloo processes: what several workers learn, without starting Ray."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import labs
from labs.core import events
from labs.core.config import Config
from labs.core.run import Run
from labs.core.weights import unwrap
from tests.forked import server

LIMIT_S = 120
"""Seconds that two processes may take for what they are asked."""


class ObservedRun(Run):
    """A run that keeps references to the model it wrapped, and to all that its checkpoints hold."""

    def wrap(self, model: Any, **options: Any) -> Any:
        self.model: nn.Module = super().wrap(model, **options)
        return self.model

    def epochs(self, n: int, state: dict[str, Any]) -> Iterator[int]:
        self.state = state
        return super().epochs(n, state)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Those of the wrapped model, and of each other network by its name in the checkpoint."""
        model = unwrap(self.model)
        found = dict(model.named_parameters())
        others = {role: unwrap(part) for role, part in self.state.items() if isinstance(part, nn.Module)}
        for role, other in others.items():
            if other is not model:
                found |= {f"{role}.{name}": parameter for name, parameter in other.named_parameters()}
        return found


def in_two_processes(function: Callable[..., Any], *arguments: Any, wait_s: float = 60) -> list[Any]:
    """Call `function(rank, *arguments)` in two processes that form a gloo group; what they return, by rank.

    The processes stay for the whole session, since importing torch takes seconds. `wait_s` limits how long they
    wait for each other.
    """
    with TemporaryDirectory() as folder:
        store = f"file://{folder}/store"  # through which the two find each other
        asked = [_processes().submit(_in_group, rank, function, arguments, store, wait_s) for rank in range(2)]
        return [future.result(LIMIT_S) for future in asked]


def train_on(
    workers: int, lab: str, config: Config, data_dir: Path, folder: Path, upstream: Mapping[str, Path] | None = None
) -> list[dict[str, torch.Tensor]]:
    """Train, on two processes or in this one; the parameters of all networks as each worker has them at the end."""
    folder.mkdir()
    arguments = (lab, config, data_dir, folder, upstream)
    if workers == 1:
        _train(0, *arguments)
    else:
        in_two_processes(_train, *arguments)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(workers)]


def last_metrics(folder: Path) -> dict[str, float]:
    """What the last epoch logged, without times."""
    metrics = events.read(folder)[-1]["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith(("train/", "val/"))}


def _train(
    rank: int, lab: str, config: Config, data_dir: Path, folder: Path, upstream: Mapping[str, Path] | None
) -> None:
    torch.set_num_threads(1)
    run = ObservedRun(folder, data_dir, seed=3, upstream=upstream, device=torch.device("cpu"))
    labs.get(lab).train(config, run)
    torch.save(run.parameters(), folder / f"rank{rank}.pt")


def _in_group(rank: int, function: Callable[..., Any], arguments: tuple[Any, ...], store: str, wait_s: float) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store, timedelta(seconds=wait_s), rank=rank, world_size=2)
    try:
        return function(rank, *arguments)
    finally:
        dist.destroy_process_group()


@cache
def _processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, server())
