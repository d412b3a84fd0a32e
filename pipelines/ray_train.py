"""A lab as a Ray Train job: N workers, restarted after a loss, continuing from the run's own checkpoints."""

from pathlib import Path
from typing import Any

from labs.core import events
from pipelines.job import Job, Outcome
from pipelines.worker import work

PLACEMENT_GROUP = "placement_group"
"""File in a run's folder with the id of what Ray reserves for its workers."""


def run_on_workers(job: Job) -> Outcome:
    """Run the job on Ray Train workers and wait for its end; Ray must be connected.

    The run's folder must be on storage that all nodes share. It is Ray Train's experiment folder too, because only a
    checkpoint inside that folder can be reported without a copy. `Run` continues from the folder's own checkpoints.
    Ray Train's own state, which is tied to Ray's version and may name checkpoints that were removed, is not used.

    Raises:
        ray.train.TrainingFailedError: more workers were lost than `job.retries`.
        ray.exceptions.RayActorError: Ray Train's controller was lost; another call continues the run.
    """
    from ray.exceptions import RayActorError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    for of_earlier_call in ("checkpoint_manager_snapshot.json", PLACEMENT_GROUP):
        (job.folder / of_earlier_call).unlink(missing_ok=True)
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
    try:
        outcome: Outcome = trainer.fit().return_value
    except RayActorError:
        release_placement_group(job.folder)
        raise
    return outcome


def release_placement_group(folder: Path) -> None:
    """Free what the workers of a lost controller held, or no later run would find room on this cluster.

    Ray Train's own cleaner asks the dashboard whether the controller lives, and a Ray on this machine has none.
    """
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    if (file := folder / PLACEMENT_GROUP).exists():
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(file.read_text()))))


def loop(payload: dict[str, Any]) -> Outcome:
    """What each Ray Train worker executes."""
    import ray.train
    from ray.train.torch import get_device
    from ray.util import get_current_placement_group

    job = Job.model_validate(payload)
    if ray.train.get_context().get_world_rank() == 0:
        events.write_text(job.folder / PLACEMENT_GROUP, get_current_placement_group().id.hex())
    return work(job, device=get_device(), on_save=report)


def report(step: int, metrics: dict[str, float], checkpoint: Path) -> None:
    """Report a checkpoint to Ray Train; the run has written it where it belongs, so nothing is copied."""
    import ray.train
    from ray.train import Checkpoint, CheckpointUploadMode

    ray.train.report(
        {**metrics, "step": step},
        checkpoint=Checkpoint.from_directory(checkpoint),
        checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
    )
