"""`make bench ONLY=gpu`: samples a second of labs at the course's own scale on a GPU, in each number format, beside the
same steps on one batch that stays on the card: what reading, copying and converting the batches costs.

The networks are those of size `course`; the data are the embedded ones of size `small`.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import labs
from labs.core import events
from labs.core.heading import Precision
from labs.core.run import Run
from pipelines import datasets
from tests.benchmarks.record import Figure, record

NETWORKS = {
    "cnn": ("strong", {"epochs": 4}),
    "self-attention": ("strong", {"epochs": 4}),
    "classification": ("strong", {"epochs": 4}),
    "bert-pretrain": ("spans", {"epochs": 3}),
    "gan": ("strong", {"epochs": 3, "validate_every": 3}),
    "anomaly": ("strong", {"epochs": 3}),
}
"""Lab -> preset, and what is shorter than in the course."""
FORMATS: list[tuple[Precision, bool]] = [("fp32", False), ("tf32", False), ("bf16", False), ("fp16", False)]
FORMATS += [("bf16", True)]
"""Number format, and whether the networks are compiled."""


class OneBatch:
    """A loader's first batch as often as the loader has batches."""

    def __init__(self, run: Run, batches: Any) -> None:
        self.run, self.batches = run, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        count, self.batches.count = self.batches.count, None
        batch = next(iter(self.batches))
        self.batches.count = count
        start = time.perf_counter()
        for _ in range(len(self)):
            yield batch
        torch.cuda.synchronize()
        if count:
            count(len(self) * len(batch[0]), time.perf_counter() - start)


class ResidentRun(Run):
    """A run whose training batches are the first one, which stays on the card."""

    def loader(self, dataset: Any, batch_size: int, *, train: bool = False) -> Any:
        batches = super().loader(dataset, batch_size, train=train)
        return OneBatch(self, batches) if train else batches


def main() -> None:
    """Train each network in each format, print a table, append to `results.jsonl`."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="LAB")
    names = parser.parse_args().names
    if not torch.cuda.is_available():
        sys.exit("torch finds no GPU: nothing is measured")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            data = dict(zip(names, pool.map(prepared, [home] * len(names), names), strict=True))
        record(figure for name in names for figure in figures(home, name, data[name]))


def prepared(home: Path, name: str) -> Path:
    """The lab's embedded data at size small."""
    return datasets.prepared(home, labs.get(name), "small", None)


def figures(home: Path, name: str, data: Path) -> Iterator[Figure]:
    """Samples a second of a lab in each format; the first epoch, which warms up, does not count."""
    for precision, compiled in FORMATS:
        title = f"gpu/{name}_{precision}{'_compiled' if compiled else ''}"
        speeds = [
            throughput(kind, home / "runs" / f"{name}-{precision}-{compiled}-{kind.__name__}", name, data, precision,
                       compiled=compiled)
            for kind in (Run, ResidentRun)
        ]  # fmt: skip
        print(title, speeds, f"{torch.cuda.max_memory_allocated() / 1e6:.0f} MB", flush=True)
        torch.cuda.reset_peak_memory_stats()
        yield Figure(title, "samples/s", *speeds, "the same steps on one batch that stays on the card")


def throughput(
    kind: type[Run], folder: Path, name: str, data: Path, precision: Precision, *, compiled: bool
) -> list[float]:
    """Samples a second in each epoch after the first."""
    lab, (preset, shorter) = labs.get(name), NETWORKS[name]
    run = kind(folder, data, device=torch.device("cuda"), precision=precision, compiled=compiled)
    lab.train(lab.resolve(preset, "course", shorter), run)
    return [event["metrics"]["perf/samples_per_s"] for event in events.read(folder)][1:]


if __name__ == "__main__":
    main()
