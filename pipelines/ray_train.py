"""A lab on Ray Train workers, which stay for further jobs: to launch them costs more than many a lab's training.

A worker group is a Ray Train run whose loop takes one job after the other. The driver puts a job into one queue, where
the workers fetch it, and rank 0 puts into another one how it ended. A group that loses a worker ends; the job that it
had continues from its own folder on another group.
"""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.core import events
from pipelines.error_file import has_error, is_out_of_memory
from pipelines.job import Job, Outcome, Shape
from pipelines.requests import is_asked_to_abort
from pipelines.worker import forget_job, work

if TYPE_CHECKING:
    from ray.util.queue import Queue

PLACEMENT_GROUP = "placement_group"
"""File in a run's folder with the id of what Ray reserves for its workers."""
POLL_S = 0.2
"""How often the driver looks whether a job's workers were lost."""
ANSWER_S = 10.0
"""How long the workers wait for a job before they ask again."""
NO_JOB_YET, END = "no job yet", "end"

_idle: list["WorkerGroup"] = []
_lock = threading.Lock()


class WorkerGroup:
    """Ray Train workers that take jobs until they are told to end; Ray must be connected.

    Args:
        job: the first job. Ray Train needs a folder that all nodes share, and takes this job's.
    """

    def __init__(self, job: Job) -> None:
        from ray.util.queue import Queue

        self.shape, self.folder = job.shape, job.folder
        self.jobs, self.outcomes = (Queue(actor_options={"num_cpus": 0}) for _ in range(2))
        self.end_of_run: Future[None] = Future()
        # A daemon: a command that is interrupted twice, or a trial that is killed, does not wait for it.
        threading.Thread(target=self._fit, name="fit", daemon=True).start()

    def run(self, job: Job, while_waiting: Callable[[], object]) -> Outcome:
        """Run a job and wait for its end; `while_waiting` is called several times a second.

        Raises:
            ray.train.TrainingFailedError: a worker was lost, or could not be started.
            ray.exceptions.RayActorError: Ray Train's controller was lost.
        """
        from ray.util.queue import Empty

        self.folder = job.folder
        self.jobs.put(job.model_dump(mode="json"))
        while True:
            while_waiting()
            with suppress(Empty):
                outcome: Outcome = self.outcomes.get(timeout=POLL_S)
                return outcome
            if self.end_of_run.done():
                self.end_of_run.result()  # raises: only an idle group ends without an error

    def end(self) -> None:
        """Let the idle workers end, which takes a second; whoever needs their place finds it in Ray's own queue."""
        self.jobs.actor.put.remote(END)  # `put` would wait, and raise where the queue's process was lost

    def _fit(self) -> None:
        from ray.exceptions import RayActorError
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from pipelines.process_group import ProcessGroup

        resources = {"CPU": self.shape.cpus_per_worker, "GPU": self.shape.gpus_per_worker}
        trainer = TorchTrainer(
            loop,
            train_loop_config={"jobs": self.jobs, "outcomes": self.outcomes},
            torch_config=ProcessGroup(),
            scaling_config=ScalingConfig(
                num_workers=self.shape.workers,
                use_gpu=self.shape.gpus_per_worker > 0,
                resources_per_worker={name: number for name, number in resources.items() if number},
            ),
            run_config=RunConfig(name=self.folder.name, storage_path=str(self.folder.parent)),
        )
        try:
            trainer.fit()
        except BaseException as error:  # it belongs to the thread that waits for the job
            if isinstance(error, RayActorError):
                release_placement_group(self.folder)
            self.end_of_run.set_exception(error)
        else:
            self.end_of_run.set_result(None)


def run_on_workers(job: Job, while_waiting: Callable[[], object] = lambda: None) -> Outcome:
    """Run the job on idle workers of its shape, or on new ones, and wait for its end; Ray must be connected.

    The run's folder must be on storage that all nodes share.

    Raises:
        ray.train.TrainingFailedError: workers were lost more often than `job.retries`, or can't be started.
        ray.exceptions.RayActorError: Ray Train's controller was lost more often than that.
    """
    from ray.exceptions import RayActorError
    from ray.train import ControllerError, WorkerGroupError

    losses = 0
    while True:
        group = _take_idle(job.shape) or WorkerGroup(job)
        try:
            outcome = group.run(job, while_waiting)
        except (WorkerGroupError, RayActorError, ControllerError) as error:
            if is_asked_to_abort(job.folder):
                return "KILLED"
            # Where memory runs out, Ray also ends what belongs to its controller; its other errors would come again.
            lasting = isinstance(error, ControllerError) and not is_out_of_memory(error)
            losses += 1
            if lasting or has_error(job.folder) or losses > job.retries:  # so would an error of the lab's own
                raise
        else:
            with _lock:
                _idle.append(group)
            return outcome


def end_idle(keep: Collection[Shape] = ()) -> None:
    """Let workers end that wait for a job, so that others find room; those of the shapes to keep stay."""
    with _lock:
        ending = [group for group in _idle if group.shape not in keep]
        _idle[:] = [group for group in _idle if group.shape in keep]
    for group in ending:
        group.end()


def _take_idle(shape: Shape) -> WorkerGroup | None:
    """A group that waits for a job; None where there is none of that shape: then the others end, for a new one."""
    with _lock:
        _idle[:] = [group for group in _idle if not group.end_of_run.done()]
        for group in _idle:
            if group.shape == shape:
                _idle.remove(group)
                return group
    end_idle()
    return None


def release_placement_group(folder: Path) -> None:
    """Free what the workers of a lost controller held, or no later run would find room on this cluster.

    Ray Train's own cleaner asks the dashboard whether the controller lives, and a Ray on this machine has none.
    """
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    if (file := folder / PLACEMENT_GROUP).exists():
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(file.read_text()))))
        file.unlink()


def loop(queues: dict[str, "Queue"]) -> None:
    """What each Ray Train worker executes."""
    import ray.train
    import torch.distributed as dist
    from ray.train.torch import get_device
    from ray.util import get_current_placement_group

    first = ray.train.get_context().get_world_rank() == 0
    while (payload := _next_job(queues["jobs"], first=first)) != END:
        job = Job.model_validate(payload)
        if first:
            events.write_text(job.folder / PLACEMENT_GROUP, get_current_placement_group().id.hex())
        outcome = work(job, device=get_device())
        forget_job()
        dist.barrier()  # the job has ended when all workers have
        if first:
            queues["outcomes"].put(outcome)


def _next_job(jobs: "Queue", *, first: bool) -> Any:
    """The next job as plain data, or END, on every worker: the first one asks for all."""
    import torch.distributed as dist
    from ray.train.torch import get_device
    from ray.util.queue import Empty

    while True:
        found = [NO_JOB_YET]
        with suppress(Empty):
            if first:
                found = [jobs.get(timeout=ANSWER_S)]
        dist.broadcast_object_list(found, device=get_device())
        if found[0] != NO_JOB_YET:
            return found[0]
