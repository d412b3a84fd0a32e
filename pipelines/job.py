"""What a worker is given: one training job, as plain data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from labs.core.heading import Precision

Outcome = Literal["FINISHED", "KILLED", "FAILED"]
"""How a job ended. KILLED: it was asked to end, and the same command continues it."""

Measured = Literal["labs", "torchrun"]
"""What a run of `labs scale` measures: the lab as this program runs it, or its loop as a plain script of torchrun."""


@dataclass(frozen=True)
class Shape:
    """What the workers of a job are; a job can run on the workers of any other job of the same shape."""

    workers: int
    cpus_per_worker: float
    gpus_per_worker: float


class Job(BaseModel):
    """Everything that a worker needs to know; plain data, so that it can be sent to any machine."""

    lab: str
    code: str
    """Digest of what the driver would execute in the worker's place (`fingerprint.worker_code`)."""
    preset: str
    size: str
    config: dict[str, Any]
    seed: int
    workers: int
    """Ray Train workers; 0 trains in the driver's own process."""
    cpus_per_worker: float
    gpus_per_worker: float
    folder: Path
    """The run's folder, as the driver sees it; see `replica` for nodes that do not."""
    data: Path
    """The prepared data."""
    upstream: dict[str, Path]
    """Role -> folder of the run that this one needs as that role."""
    retries: int
    """How often the workers are started again after one was lost."""
    bundles: list[float]
    """CPUs of each worker; with RLlib of the process that hosts the loop, then of each actor that it starts."""
    precision: Precision = "auto"
    """Number format of the training."""
    compiled: bool = False
    """Whether networks are compiled by torch.compile."""
    warm_up_from: float = 1.0
    """Fraction of the learning rate that the first epochs begin with; see `batch_per_worker`."""
    test: bool = True
    """Whether the run is scored on the test set at its end; a sweep does that for its best trial only."""
    measured: Measured | None = None
    """Of a run of `labs scale`, which is not scored either."""

    @property
    def shape(self) -> Shape:
        """What its workers are."""
        return Shape(self.workers, self.cpus_per_worker, self.gpus_per_worker)
