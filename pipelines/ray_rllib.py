"""A lab that starts its own RLlib actors: one Ray task hosts its loop, and the actors run beside it."""

from typing import Any

from pipelines.job import Job, Outcome
from pipelines.ray_train import end_idle
from pipelines.replica import staged
from pipelines.worker import work

PLACED_WITHIN_S = 120.0


def run_on_rllib(job: Job) -> Outcome:
    """Run the job in a Ray task of its own and wait for its end; Ray must be connected.

    One placement group reserves the CPUs of the task and of its actors, so that no two such jobs can each take a part
    of what they need and wait for ever for the part that the other one has.

    Raises:
        ray.exceptions.WorkerCrashedError: the task's process was lost more often than `job.retries`.
        TimeoutError: the cluster did not have the CPUs free in time.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    end_idle()
    bundles = [{"CPU": cpus} for cpus in job.bundles]
    bundles[0]["GPU"] = job.gpus_per_worker
    group = placement_group([{name: n for name, n in bundle.items() if n} for bundle in bundles])
    try:
        if not group.wait(PLACED_WITHIN_S):
            raise TimeoutError(f"waited {PLACED_WITHIN_S:g} s for {sum(job.bundles):g} free CPUs of the cluster")
        task = ray.remote(host).options(
            num_cpus=job.bundles[0],
            num_gpus=job.gpus_per_worker,
            max_retries=job.retries,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            ),
        )
        outcome: Outcome = ray.get(task.remote(job.model_dump(mode="json")))
        return outcome
    finally:
        remove_placement_group(group)


def host(payload: dict[str, Any]) -> Outcome:
    """What the task executes."""
    with staged(Job.model_validate(payload)) as job:
        return work(job)
