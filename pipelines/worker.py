"""One training job, and what every placement does with it in the worker's process."""

import os
import re
import threading
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel

from labs.core import events

ABORT = "abort"
"""A file of this name in a run's folder ends the run's workers at once, saved or not."""
SYSTEM = "system"
"""Folder below a run's with the machine's load while it ran, as events."""
SAMPLE_EVERY_S = 5.0
WRITER_WAIT_S = 60.0
BARE = threading.Lock()
Outcome = Literal["FINISHED", "KILLED", "FAILED"]


class Job(BaseModel):
    """Everything a worker needs to know; plain data, so that it travels to any node."""

    lab: str
    preset: str
    size: str
    config: dict[str, Any]
    seed: int
    workers: int
    """Ray Train workers; 0 for the bare loop in the driver's own process."""
    cpus_per_worker: float
    gpus_per_worker: float
    folder: Path
    data: Path
    upstream: dict[str, Path]
    retries: int
    """How often the workers are started again after one was lost."""
    bundles: list[float]
    """With RLlib, CPUs of the hosting process, then of each actor that it starts."""
    test: bool = True
    """Whether the test set is opened at the end; a sweep opens it for its best trial only."""


def work(job: Job, **run_options: Any) -> Outcome:
    """Train in this process, one of the job's workers: the same call bare, in a trial and on a Ray Train worker.

    An error of the lab's own code is written to the folder as `error.txt`. A lone worker then returns FAILED, since
    trying again would fail again; one of several raises, to free the others from waiting for it.

    Args:
        job: the job.
        run_options: passed on to `Run` (`device`, `on_save`, `on_epoch`).
    """
    import torch

    import labs
    from labs.core.run import Interrupted, Run

    if (job.folder / "error.txt").exists():
        return "FAILED"
    if (job.folder / ABORT).exists():
        return "KILLED"
    torch.set_num_threads(max(1, int(job.cpus_per_worker)))
    lab = labs.get(job.lab)
    config = lab.config.model_validate(job.config)
    # Ray shows all GPUs to a worker that asked for none, so what was asked for decides.
    device = run_options.pop("device", torch.device("cuda" if job.gpus_per_worker else "cpu"))
    run = Run(job.folder, job.data, seed=job.seed, upstream=job.upstream, device=device, **run_options)
    lock = FileLock(job.folder / "writer.lock", timeout=WRITER_WAIT_S) if run.rank == 0 else nullcontext()
    try:
        # A killed driver's worker may live on for seconds: its lock keeps two from writing to one folder.
        with lock, Watch(job.folder, sample=run.rank == 0):
            lab.fit(config, run, test=job.test)
    except Interrupted:
        return "KILLED"
    except Exception as error:  # whatever the lab raises is the user's to read, with its traceback
        if run.world_size > 1 and lost_peer(error):
            raise
        note_error(job.folder, error)
        if run.world_size == 1:
            return "FAILED"
        raise
    return "FINISHED"


def clear(folder: Path) -> None:
    """Remove what an earlier command left in a run's folder: requests, an error, and workers that outlive their driver.

    Ray takes seconds to end the workers of a driver that was killed. Until then they would write beside the new ones.

    Raises:
        TimeoutError: the left-over workers did not end.
    """
    from labs.core.run import STOP

    lock = FileLock(folder / "writer.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        (folder / ABORT).touch()
        try:
            lock.acquire(timeout=WRITER_WAIT_S)
        except Timeout:
            what = f"the workers of an earlier command that still write to {folder}"
            raise TimeoutError(f"waited {WRITER_WAIT_S:g} s for {what}") from None
    lock.release()
    for left_over in (STOP, ABORT, "error.txt"):
        (folder / left_over).unlink(missing_ok=True)


def run_bare(job: Job) -> Outcome:
    """Run the job in this process, without Ray: the yardstick for what placement costs.

    One at a time: random generators and thread counts belong to the process.
    """
    with BARE:
        return work(job)


def lost_peer(error: BaseException) -> bool:
    """Whether a collective failed because another worker is gone, which starting the workers again can mend."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or any(word in str(error) for word in ("gloo/", "NCCL"))


def note_error(folder: Path, error: BaseException) -> None:
    """Write an error with its traceback to a run's folder, as `error.txt`."""
    trace = "".join(traceback.format_exception(error))
    events.write_text(folder / "error.txt", f"{first_line(error)}\n\n{trace}")


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message, without the colours that Ray puts there."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().split("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


class Watch:
    """While entered: ends the process when `abort` appears, and samples the machine's load into `system/`.

    The names are those of MLflow's own system metrics, so that its interface shows them as such. Sampling in the
    worker, not in the driver, gives the load of the node that does the work.
    """

    def __init__(self, folder: Path, *, sample: bool) -> None:
        self.folder, self.sample = folder, sample
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> None:
        (self.folder / SYSTEM).mkdir(exist_ok=True)
        self.steps = len(events.read(self.folder / SYSTEM))
        psutil.cpu_percent()
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join()
        if self.sample:
            self._sample()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(1.0):
            if (self.folder / ABORT).exists():
                os._exit(1)
            if self.sample and time.monotonic() - last >= SAMPLE_EVERY_S:
                last = time.monotonic()
                self._sample()

    def _sample(self) -> None:
        memory = psutil.virtual_memory()
        metrics = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": psutil.Process().memory_info().rss / 1e6,
            **_gpu_load(),
        }
        self.steps += 1
        events.append(self.folder / SYSTEM, {"time": time.time(), "step": self.steps, "metrics": metrics})


def _gpu_load() -> dict[str, float]:
    import torch

    if not torch.cuda.is_available():
        return {}
    load: dict[str, float] = {}
    for gpu in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(gpu)
        load[f"system/gpu_{gpu}_memory_usage_megabytes"] = (total - free) / 1e6
        load[f"system/gpu_{gpu}_utilization_percentage"] = float(torch.cuda.utilization(gpu))
    return load
