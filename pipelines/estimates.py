"""How long a node, a launch of workers and a preparation of data will take, judged by how long earlier ones took.

Training is taken as proportional to the samples and the epochs, and as shared evenly between the workers.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import labs
from labs.core import shards
from pipelines import datasets
from pipelines.home import records
from pipelines.job import Shape
from pipelines.ray_train import LAUNCHES
from pipelines.spec import Node

SECONDS = 60.0
"""Of a node whose lab says nothing about its size."""
LAUNCH_S = 10.0
"""Of Ray Train workers, before any were launched in this home."""
PREPARATION_S = {"tiny": 1.0, "small": 10.0, "course": 600.0}
"""Of one data set of a size, before any of the lab was prepared in this home."""


@dataclass(frozen=True)
class PastRun:
    """A finished run."""

    seconds: float
    """Without the launches of its workers."""
    samples: int
    """Of all splits; 0 for a lab without a data set."""
    epochs: int
    workers: int
    gpu: bool
    """Whether it was trained on GPUs."""


@dataclass(frozen=True)
class PastPreparation:
    """A data set that was prepared."""

    name: str
    """Of its folder: `generated-<size>-` or `folder-<name>-`, and a digest."""
    seconds: float
    bytes: int
    """Of the files in the course's format."""
    samples: int


class Estimates:
    """What earlier commands in a home took.

    Args:
        home: the home folder.
    """

    def __init__(self, home: Path) -> None:
        self.runs: dict[tuple[str, str, str], dict[Any, PastRun]] = defaultdict(dict)
        """Lab, preset and size -> of its finished runs the newest one of each kind."""
        self.launches: dict[Shape, list[float]] = defaultdict(list)
        """Seconds until new workers took their first job."""
        self.preparations: dict[str, list[PastPreparation]] = defaultdict(list)
        """Lab -> its prepared data, the newest first."""
        for folder, record in records(home, "runs"):
            if record["status"] == "FINISHED" and "labs.measured" not in record["tags"]:  # else a few epochs' worth
                self._note_run(folder, record)
        for file in sorted(home.glob(f"data/*/*/{datasets.PREPARATION}"), key=os.path.getmtime, reverse=True):
            with suppress(OSError, ValueError, KeyError):  # damaged: an estimate is not worth an error
                self._note_preparation(file)
        self._samples: dict[Path, int] = {}

    def training_s(self, node: Node, gpus: float, data: Path) -> float:
        """Seconds of a node, or of a sweep's trial, once its workers have been launched.

        Of the earlier runs of its lab, preset and size the one counts that is most like it. Before there is one, it is
        what the lab says, for its own data of that size on one worker.

        Args:
            node: the node.
            gpus: GPUs of each worker.
            data: its data, prepared or not.
        """
        epochs, workers = getattr(node.config, "epochs", 1), max(1, node.resources.workers)
        if data not in self._samples:  # many nodes share them
            self._samples[data] = self._count_samples(node, data)
        samples = self._samples[data]

        def unlike(run: PastRun) -> tuple[bool, bool, float]:
            size = abs(math.log(samples / run.samples)) if samples and run.samples else 0.0
            return run.gpu != bool(gpus), run.workers != workers, size

        like = min(self.runs[node.lab, node.preset, node.size].values(), key=unlike, default=None)
        if like is None:
            stated = labs.get(node.lab).seconds.get(node.size, SECONDS)
            like = PastRun(stated, self._generated_samples(node), epochs, workers=1, gpu=bool(gpus))
        larger = samples / like.samples if samples and like.samples else 1.0
        return like.seconds * larger * epochs / like.epochs * like.workers / workers

    def launch_s(self, shape: Shape) -> float:
        """Seconds until new workers take their first job: the median of those of that shape, or else of all."""
        known = self.launches.get(shape) or [seconds for some in self.launches.values() for seconds in some]
        return median(known) if known else LAUNCH_S

    def preparation_s(self, node: Node) -> float:
        """Seconds to prepare the node's data on one CPU."""
        if node.data is None:
            return next((p.seconds for p in self._generated(node)), PREPARATION_S[node.size])
        like = next(iter(self.preparations[node.lab]), None)
        return like.seconds * datasets.source_bytes(node.data) / like.bytes if like else PREPARATION_S[node.size]

    def _count_samples(self, node: Node, data: Path) -> int:
        """Samples of the node's data, or as many as the size of the files suggests; 0 for unknown."""
        if (data / shards.MANIFEST).exists():
            return sum(shards.manifest(data)["splits"].values())
        like = next(iter(self.preparations[node.lab]), None)
        if node.data is None or like is None:
            return self._generated_samples(node)
        return round(like.samples * datasets.source_bytes(node.data) / like.bytes)

    def _generated_samples(self, node: Node) -> int:
        """Samples of the lab's own data of the node's size, where they were made before; else 0."""
        return next((p.samples for p in self._generated(node)), 0)

    def _generated(self, node: Node) -> Iterator[PastPreparation]:
        return (p for p in self.preparations[node.lab] if p.name.startswith(f"generated-{node.size}-"))

    def _note_run(self, folder: Path, record: Mapping[str, Any]) -> None:
        params, launches = record["params"], _launches(folder)
        samples, gpus = sum(record["data"]["splits"].values()), params["gpus_per_worker"]
        epochs = record["config"].get("epochs", 1)
        run = PastRun(record["seconds"] - sum(launches), samples, epochs, params["workers"], gpu=bool(gpus))
        self.runs[record["lab"], record["preset"], record["size"]][run.gpu, run.workers, samples] = run
        self.launches[Shape(run.workers, params["cpus_per_worker"], gpus)] += launches

    def _note_preparation(self, file: Path) -> None:
        took, place = json.loads(file.read_text()), file.parent
        samples = sum(shards.manifest(place)["splits"].values())
        past = PastPreparation(place.name, took["seconds"], took["bytes"], samples)
        self.preparations[place.parent.name].append(past)


def _launches(folder: Path) -> list[float]:
    """Seconds of each launch of workers that a run's time includes."""
    with suppress(OSError, ValueError):  # on workers that stayed, there was none
        return [float(line) for line in (folder / LAUNCHES).read_text().split()]
    return []
