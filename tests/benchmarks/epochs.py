"""`make bench`: CPU seconds of an epoch of every node of the course but rl, beside its steps alone: what reading
batches, validation, events and checkpoints add to them. Bare loops on one thread, without Ray."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import labs
from labs.core.run import Run
from pipelines import datasets
from pipelines.spec import COURSE, Node, read_spec
from tests.benchmarks.record import Figure, record

EPOCHS = 2
"""Passes over the data; a lab that counts otherwise trains as long as in the course."""


def main() -> None:
    """Train every node in the order of the course, print a table, append to `results.jsonl`."""
    argparse.ArgumentParser(prog="python -m tests.benchmarks.epochs", description=__doc__).parse_args()
    torch.set_num_threads(1)
    nodes = [node for node in read_spec(COURSE)[1] if labs.get(node.lab).placement == "train"]
    needed = {name for node in nodes for name in node.needs.values()}
    with tempfile.TemporaryDirectory() as home:
        record(figure for node in nodes for figure in figures(Path(home), node, deliver=node.name in needed))


class TimedRun(Run):
    """A run that notes the CPU seconds of each epoch, with the saving before it, and of what in it is not a step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch_seconds, self.step_seconds = list[float](), list[float]()

    def epochs(self, n: int, state: dict[str, Any]) -> Iterator[int]:
        start, self.other = time.process_time(), 0.0
        for epoch in super().epochs(n, state):
            body = time.process_time()
            yield epoch
            end = time.process_time()
            self.epoch_seconds.append(end - start)
            self.step_seconds.append(end - body - self.other)
            start, self.other = end, 0.0

    def loader(self, *args: Any, **kwargs: Any) -> Any:
        return TimedBatches(self, super().loader(*args, **kwargs))

    @contextmanager
    def evaluation(self, model: Any) -> Iterator[Any]:
        before, start = self.other, time.process_time()
        with super().evaluation(model) as net:
            yield net
        self.other = before + time.process_time() - start  # its own batches are not counted twice


class TimedBatches:
    """A loader whose reading counts."""

    def __init__(self, run: TimedRun, batches: Any) -> None:
        self.run, self.batches = run, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        start = time.process_time()
        for batch in self.batches:
            self.run.other += time.process_time() - start
            yield batch
            start = time.process_time()


def figures(home: Path, node: Node, *, deliver: bool) -> Iterator[Figure]:
    """Train a node, and deliver what other nodes need of it."""
    lab, config = labs.get(node.lab), node.config
    if "epochs" in type(config).model_fields:
        config = config.model_copy(update={"epochs": EPOCHS})
    upstream = {role: home / "runs" / name for role, name in node.needs.items()}
    data = datasets.prepared(home, lab, node.size, node.data)
    run = TimedRun(home / "runs" / node.name, data, upstream=upstream, device=torch.device("cpu"))
    lab.fit(config, run, test=deliver)
    yield Figure(f"epoch/{node.name}_s", "CPU s", run.epoch_seconds, run.step_seconds, "its steps alone")


if __name__ == "__main__":
    main()
