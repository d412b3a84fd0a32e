"""A lab that brings its own RLlib actors: one Ray task hosts its loop, the actors take their own CPUs beside it."""

from typing import Any

from pipelines.job import Job, Outcome, work


def run_on_rllib(job: Job) -> Outcome:
    """Run the job in a Ray task of its own and wait for its end; Ray must be connected.

    Raises:
        ray.exceptions.WorkerCrashedError: the task's process was lost more often than `job.retries`.
    """
    import ray

    task = ray.remote(num_cpus=1, num_gpus=job.gpus_per_worker, max_retries=job.retries)(host)
    outcome: Outcome = ray.get(task.remote(job.model_dump(mode="json")))
    return outcome


def host(payload: dict[str, Any]) -> Outcome:
    """What the task executes."""
    return work(Job.model_validate(payload))
