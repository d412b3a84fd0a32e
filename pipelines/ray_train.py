"""A lab as a Ray Train job: N workers, restarted after a loss, continuing from the run's own checkpoints."""

from pathlib import Path
from typing import Any

from pipelines.job import Job, Outcome
from pipelines.worker import work


def run_on_workers(job: Job) -> Outcome:
    """Run the job on Ray Train workers and wait for its end; Ray must be connected.

    The run's folder must be on storage that all nodes share. It is Ray Train's experiment folder too, because only a
    checkpoint inside that folder can be reported without a copy. `Run` continues from the folder's own checkpoints.
    Ray Train's own state, which is tied to Ray's version and may name checkpoints that were removed, is not used.

    Raises:
        ray.train.TrainingFailedError: more workers were lost than `job.retries`.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    (job.folder / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)
    resources: dict[str, float] = {"CPU": job.cpus_per_worker}
    if job.gpus_per_worker:
        resources["GPU"] = job.gpus_per_worker
    trainer = TorchTrainer(
        loop,
        train_loop_config=job.model_dump(mode="json"),
        scaling_config=ScalingConfig(
            num_workers=job.workers, use_gpu=job.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=job.folder.name,
            storage_path=str(job.folder.parent),
            failure_config=FailureConfig(max_failures=job.retries),
        ),
    )
    outcome: Outcome = trainer.fit().return_value
    return outcome


def loop(payload: dict[str, Any]) -> Outcome:
    """What each Ray Train worker executes."""
    from ray.train.torch import get_device

    return work(Job.model_validate(payload), device=get_device(), on_save=report)


def report(step: int, metrics: dict[str, float], checkpoint: Path) -> None:
    """Report a checkpoint to Ray Train; the run has written it where it belongs, so nothing is copied."""
    import ray.train
    from ray.train import Checkpoint, CheckpointUploadMode

    ray.train.report(
        {**metrics, "step": step},
        checkpoint=Checkpoint.from_directory(checkpoint),
        checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
    )
