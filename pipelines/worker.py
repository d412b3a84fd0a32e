"""A training job in a worker's process: the same call bare, in a trial, on a Ray Train worker and beside RLlib."""

import gc
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import DistError

import labs
from cluster.errors import ClusterError
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Interrupted, Run
from pipelines.error_file import has_error, write_error
from pipelines.fingerprint import worker_code
from pipelines.home import has_record
from pipelines.job import Job, Outcome
from pipelines.requests import AbortListener, is_asked_to_abort, writer_lock
from pipelines.scaling.measured_run import MeasuredRun
from pipelines.system_load import LoadSampler
from pipelines.torch_lock import TORCH_LOCK

FEW_SAMPLES = 16
"""With batches smaller than this, batch statistics raise the error (Wu and He, arXiv:1803.08494, figure 1)."""


def work(job: Job, **run_options: Any) -> Outcome:
    """Train in this process, which is one of the job's workers.

    An error that the lab's code raises is written to the folder as `error.txt`. A lone worker then returns FAILED,
    because another try would fail again. One of several workers raises, so that the others do not wait for it.

    Args:
        job: the job.
        run_options: passed on to `Run` (`device`, `on_epoch`).

    Raises:
        ClusterError: this node does not see the run's folder.
    """
    if not has_record(job.folder):  # it would begin anew on a disk that nobody looks at
        raise ClusterError(
            f"the run's folder {job.folder} is not there on {socket.gethostname()}: if it was removed, the same "
            "command begins the run anew"
        )
    if has_error(job.folder):  # restarted by Ray after a worker wrote an error: another try would fail again
        return "FAILED"
    if is_asked_to_abort(job.folder):
        return "KILLED"
    torch.set_num_threads(max(1, int(job.cpus_per_worker)))
    # Ray shows all GPUs to a worker that asked for none, so what was asked for decides.
    device = run_options.pop("device", torch.device("cuda" if job.gpus_per_worker else "cpu"))
    lab = labs.get(job.lab)
    config = lab.config.model_validate(job.config)
    new_run = MeasuredRun if job.measured else Run
    run = new_run(
        job.folder,
        job.data,
        seed=job.seed,
        upstream=job.upstream,
        device=device,
        precision=job.precision,
        compiled=job.compiled,
        warm_up_from=job.warm_up_from,
        sync_batch_norm=_has_few_samples(lab, config),
        **run_options,
    )
    try:
        _require_same_code(job)
        with _watched(run):
            lab.fit(config, run, test=job.test)
    except Interrupted:
        return "KILLED"
    except Exception as error:  # whatever the lab raises: the user reads it with its traceback
        if run.world_size > 1 and is_lost_peer(error):
            raise
        write_error(job.folder, error)
        if run.world_size > 1:
            raise
        return "FAILED"
    return "FINISHED"


def run_bare(job: Job) -> Outcome:
    """Run the job in this process, without Ray: the baseline of the benchmarks."""
    with TORCH_LOCK:
        return work(job)


def forget_job() -> None:
    """Free the memory of a job that has ended, so that the next one in this process finds what a new one would."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_lost_peer(error: BaseException) -> bool:
    """Whether a collective failed because another worker is gone; then it helps to start the workers again."""
    return isinstance(error, DistError) or any(word in str(error) for word in ("gloo/", "NCCL"))


def _require_same_code(job: Job) -> None:
    """Check that this node has the driver's code: its fingerprint would stand for what another code has learnt."""
    if job.code != worker_code(job.lab):
        raise ClusterError(
            f"the packages labs and pipelines on {socket.gethostname()} are not the driver's: install the same ones "
            "there, or use labs submit, which takes its own along; if they were edited meanwhile, run the command again"
        )


def _has_few_samples(lab: Lab, config: Config) -> bool:
    """Whether a worker's part of the batch is too small for batch statistics of its own. Samples that are batches
    themselves (utterances, tasks) have enough."""
    workers = dist.get_world_size() if dist.is_initialized() else 1
    name = lab.batch_field(config)
    return name == "batch_size" and getattr(config, name, FEW_SAMPLES * workers) < FEW_SAMPLES * workers


@contextmanager
def _watched(run: Run) -> Iterator[None]:
    """What surrounds the training: the writer's lock and the load's samples (rank 0), and the listener for `abort`."""
    with ExitStack() as stack:
        if run.rank == 0:
            # The worker of a killed driver may live on for seconds: the lock keeps two from writing to one folder.
            stack.enter_context(writer_lock(run.folder))
            stack.enter_context(LoadSampler(run.folder))
        stack.enter_context(AbortListener(run.folder))
        yield
