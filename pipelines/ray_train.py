"""A lab on Ray Train workers, which stay for further jobs: to launch them costs more than many a lab's training.

A worker group is a Ray Train run whose loop takes one job after the other. Driver and workers meet at an actor: the
driver puts a job there, the workers fetch it, and rank 0 says how it ended. A group that loses a worker ends; the job
that it had continues from its own folder on another group.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from labs.core import events
from pipelines.error_file import has_error, is_out_of_memory
from pipelines.idle_workers import IdleWorkers
from pipelines.job import Job, Outcome
from pipelines.job_queues import JOBS, OUTCOMES, JobQueues
from pipelines.replica import staged
from pipelines.requests import is_asked_to_abort
from pipelines.worker import forget_job, work

PLACEMENT_GROUP = "placement_group"
"""File in a run's folder with the id of what Ray reserves for its workers."""
LAUNCHES = "launches"
"""File in a run's folder with the seconds that it took to start workers for it, one line for each time."""
POLL_S = 0.2
"""How often the driver looks whether a job's workers were lost."""
ANSWER_S = 10.0
"""How long the workers wait for a job, and the driver for its outcome, before they ask again."""
END = "end"
"""What the workers get in place of a job when they shall end."""
NOT_NEEDED = ("DatasetsCallback", "PlacementGroupCleanerCallback")
"""Each starts an actor that this program has no use for: 1.6 CPU-seconds for Ray's own datasets, and 2 for a cleaner
that asks a dashboard, which a Ray on one machine has not (`release_placement_group` does its work)."""


class WorkerGroup:
    """Ray Train workers that take jobs until they are told to end; Ray must be connected.

    Args:
        job: the first job. Ray Train needs a folder, which only its controller on this node uses, and takes this job's.
    """

    def __init__(self, job: Job) -> None:
        import ray

        self.shape, self.folder = job.shape, job.folder
        self.queues = ray.remote(num_cpus=0)(JobQueues).remote()
        self.end_of_run: Future[None] = Future()
        # A daemon: a command that is interrupted twice, or a trial that is killed, does not wait for it.
        threading.Thread(target=self._fit, name="fit", daemon=True).start()

    def run(self, job: Job, while_waiting: Callable[[], object]) -> Outcome:
        """Run a job and wait for its end; `while_waiting` is called several times a second.

        Raises:
            ray.train.TrainingFailedError: a worker was lost, or could not be started.
            ray.exceptions.RayActorError: Ray Train's controller was lost.
        """
        import ray

        self.folder = job.folder
        ray.get(self.queues.put.remote(JOBS, job.model_dump(mode="json")))
        # One question that stays open: a new one each time took 1 % more of the CPUs that the workers train on.
        asked = self.queues.get.remote(OUTCOMES, ANSWER_S)
        while True:
            while_waiting()
            if ray.wait([asked], timeout=POLL_S)[0]:
                outcome: Outcome | None = ray.get(asked)
                if outcome:
                    return outcome
                asked = self.queues.get.remote(OUTCOMES, ANSWER_S)
            if self.has_ended():
                self.end_of_run.result()  # raises: only an idle group ends without an error

    def has_ended(self) -> bool:
        """Whether the workers were lost, or have ended."""
        return self.end_of_run.done()

    def end(self) -> None:
        """Let the idle workers end, which takes a second; whoever needs their place finds it in Ray's own queue."""
        self.queues.put.remote(JOBS, END)  # it is not waited for: it would raise where the actor was lost

    def _fit(self) -> None:
        from ray.exceptions import RayActorError
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from cluster.connect import is_own_ray
        from pipelines.fixed_workers import FixedWorkers
        from pipelines.process_group import ProcessGroup

        class Trainer(TorchTrainer):  # type: ignore[misc]
            def _create_default_callbacks(self) -> list[Any]:
                return [each for each in super()._create_default_callbacks() if type(each).__name__ not in NOT_NEEDED]

            def _initialize_and_run_controller(self, **options: Any) -> Any:
                if is_own_ray():
                    options["scaling_policy"] = FixedWorkers(self.scaling_config)
                return super()._initialize_and_run_controller(**options)

        resources = {"CPU": self.shape.cpus_per_worker, "GPU": self.shape.gpus_per_worker}
        trainer = Trainer(
            loop,
            train_loop_config={
                "queues": self.queues,
                "asked_at": time.time(),
            },
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


_idle = IdleWorkers[WorkerGroup]()
end_idle = _idle.end


def run_on_workers(job: Job, while_waiting: Callable[[], object] = lambda: None) -> Outcome:
    """Run the job on idle workers of its shape, or on new ones, and wait for its end; Ray must be connected.

    Raises:
        ray.train.TrainingFailedError: workers were lost more often than `job.retries`, or can't be started.
        ray.exceptions.RayActorError: Ray Train's controller was lost more often than that.
    """
    from ray.exceptions import RayActorError
    from ray.train import ControllerError, WorkerGroupError

    losses = 0
    while True:
        group = _idle.take(job.shape) or WorkerGroup(job)
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
            _idle.put(group)
            return outcome


def release_placement_group(folder: Path) -> None:
    """Free what the workers of a lost controller held, or no later run would find room on this cluster.

    Ray Train's own cleaner asks the dashboard whether the controller lives, and a Ray on this machine has none.
    """
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    file = folder / PLACEMENT_GROUP
    with suppress(FileNotFoundError):  # there was none, or the process of a sweep's last trial was faster
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(file.read_text()))))
        file.unlink()


def loop(driver: dict[str, Any]) -> None:
    """What each Ray Train worker executes.

    Args:
        driver: where it meets its workers, and when it asked for them.
    """
    import ray
    import ray.train
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device
    from ray.util import get_current_placement_group

    first, queues = ray.train.get_context().get_world_rank() == 0, driver["queues"]
    if (device := get_device()).type == "cuda":
        torch.cuda.set_device(device)  # of this thread
    launched: float | None = time.time() - driver["asked_at"]
    while (payload := _next_job(queues, device, first=first)) != END:
        with staged(Job.model_validate(payload), workers=str(driver["asked_at"])) as job:
            dist.barrier()  # no worker writes before the last has its copy, on nodes that do not see the home folder
            if first:
                events.write_text(job.folder / PLACEMENT_GROUP, get_current_placement_group().id.hex())
            if first and launched is not None:
                with (job.folder / LAUNCHES).open("a") as file:
                    file.write(f"{launched:.2f}\n")
                launched = None
            outcome = work(job, device=device)
        forget_job()
        dist.barrier()  # the job has ended when all workers have
        if first:
            ray.get(queues.put.remote(OUTCOMES, outcome))


def _next_job(queues: Any, device: Any, *, first: bool) -> Any:
    """The next job as plain data, or END, on every worker: the first one asks for all."""
    import ray
    import torch.distributed as dist

    found = [None]
    while found[0] is None:
        if first:
            found = [ray.get(queues.get.remote(JOBS, ANSWER_S))]
        dist.broadcast_object_list(found, device=device)
    return found[0]
