"""What a trial of a sweep does in its own process, which later trials use again."""

import os
from typing import Any

from cluster.environment import RAY_ENVIRONMENT
from pipelines.error_file import has_error
from pipelines.job import Job, Outcome
from pipelines.ray_train import run_on_workers
from pipelines.replica import staged
from pipelines.tuning.rungs import RungReporter, finite, newest_value
from pipelines.worker import work


def run_trial(config: dict[str, Any]) -> None:
    """A function trainable of Ray Tune; `config` has the job, the metric, and whether the scheduler compares rungs.

    A trial whose lab raises an error has ended like any other, and its folder's `error.txt` says so. What this function
    raises is lost processes, after which Tune runs the trial again.
    """
    with staged(Job.model_validate(config["job"])) as job:
        _run(job, config)


def _run(job: Job, config: dict[str, Any]) -> None:
    from ray import tune

    metric, goal = config["metric"], config["goal"]
    rungs = RungReporter(job.folder, metric, goal, tune.report) if config["scheduled"] else None
    outcome = _on_workers(job, rungs) if job.workers > 1 else work(job, on_epoch=rungs.on_epoch if rungs else None)
    # Percent 0 says nothing to a scheduler: the trial was asked to end, or has failed.
    percent = 100 if outcome == "FINISHED" else 0
    tune.report({"percent": percent, "value": finite(newest_value(job.folder, metric), goal)})


def _on_workers(job: Job, rungs: RungReporter | None) -> Outcome:
    """Train on Ray Train workers, which this process, itself without a CPU, waits for."""
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return run_on_workers(job, rungs.report_reached if rungs else lambda: None)
    except Exception:  # Ray reports lost workers with many classes
        if has_error(job.folder):  # what the worker wrote says more
            return "FAILED"
        raise
