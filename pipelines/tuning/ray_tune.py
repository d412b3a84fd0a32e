"""A sweep's trials on Ray Tune: reused processes, early stopping, retries, and no process or file left over.

Tune gets its trials from the sweep's own study, and nothing depends on the state that Tune keeps. Ray must be connected
before this module is imported.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipelines import home_files
from pipelines.error_file import has_error, read_error
from pipelines.home import RESULT
from pipelines.interrupts import GRACE_S
from pipelines.job import Job
from pipelines.ray_train import end_idle, release_placement_group
from pipelines.requests import ask_to_abort, ask_to_stop
from pipelines.tuning.rungs import GRACE_PERCENT, MAX_PERCENT, REDUCTION, finite, reached_rungs
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trainable import run_trial
from pipelines.tuning.trial import ENDED, State, SweepTrial

if TYPE_CHECKING:
    import optuna

TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # trials save and end before Tune does
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trials' folders have it all
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's older output can be switched off, the newer one can not
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
}
DRIVER_BUNDLE = {"memory": 2.0**20}
"""What Tune reserves for a trial whose own workers train: no CPU, which its workers would then wait for. Tune must
reserve something, and so little memory is always free."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """Gives trials to Tune: first those that are to be continued, then new ones from the study.

    Args:
        sweep: the sweep.
        study: its study.
    """

    def __init__(self, sweep: Sweep, study: "optuna.Study") -> None:
        super().__init__()
        self.sweep, self.study, self.search = sweep, study, sweep.search(study)
        earlier = list(sweep.trials())
        self.to_continue = [trial for trial in earlier if trial.state() == "KILLED"]
        self.begun = len(earlier)
        self.ended = self.begun - len(self.to_continue)
        best = sweep.best()
        self.best_value = best.value() if best else None
        """Of the trials that were run to their end, as they end: a sweep of thousands reads none of them again."""
        self.running: dict[str, SweepTrial] = {}
        self.pruned: set[str] = set()
        self.closed = False
        self.error: Exception | None = None
        self.given = sweep.given()[self.begun :]

    def suggest(self, trial_id: str) -> Any:
        """Called by Tune when it has room for one more trial; returns the trial's config."""
        trial = self._next()
        if trial is None:
            return Searcher.FINISHED
        trial.start()
        self.running[trial_id] = trial
        metric = self.sweep.lab.metric
        job = {**trial.record()["job"], "folder": str(trial.folder), "data": str(self.sweep.data)}
        scheduled = self.sweep.tuning.scheduler != "none"
        return {"job": job, "metric": metric.name, "goal": metric.goal, "scheduled": scheduled}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Called by Tune when a trial has ended, in whatever way."""
        trial = self.running.pop(trial_id)
        lost = f"its process was lost (retries: {self.sweep.node.retries})" if error else ""
        state, fault = how_it_ended(trial, pruned=trial_id in self.pruned, lost=lost)
        trial.end(state, fault)
        trial.record_in(self.study)
        self.search.learn(trial.number)
        value = trial.value() if state == "FINISHED" else None
        if value is not None and self.sweep.lab.metric.better(value, self.best_value):
            self.best_value = value
        self.ended += state in ENDED
        self.sweep.log_progress(self.ended, self.best_value)

    def prune(self, trial_id: str) -> None:
        """Ask a running trial to end: it stops after its epoch, and its process is free for the next one."""
        self.pruned.add(trial_id)
        ask_to_stop(self.running[trial_id].folder)

    def save(self, checkpoint_path: str) -> None:
        """Called by Tune; there is nothing to save, because the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that nobody does

    def _next(self) -> SweepTrial | None:
        """A trial to continue or a new one; None if no further trial is to start."""
        if self.closed:
            return None
        if self.to_continue:
            return self.to_continue.pop(0)
        if self.begun >= self.sweep.tuning.trials or (self.sweep.tuning.search == "grid" and not self.given):
            return None
        try:
            self.begun += 1
            return self.sweep.sample(self.search, self.given.pop(0) if self.given else None)
        except Exception as error:  # Tune would hide it behind its own; `run_trials` raises it at the end
            self.error, self.closed = error, True
            return None


def how_it_ended(trial: SweepTrial, *, pruned: bool, lost: str) -> tuple[State, str]:
    """How a trial ended and, where it failed, why: read from what it left in its folder.

    Args:
        trial: the trial.
        pruned: whether it was asked to end, as a bad one.
        lost: what became of its process; empty where that has ended well.
    """
    if (trial.folder / RESULT).exists():
        return "FINISHED", ""
    if lost or has_error(trial.folder):
        return "FAILED", read_error(trial.folder, lost)
    return ("PRUNED" if pruned else "KILLED"), ""


class SuccessiveHalving(ASHAScheduler):  # type: ignore[misc]
    """Successive halving (Li et al., ASHA, arXiv:1810.05934) that asks bad trials to end by themselves.

    Tune would stop a trial by killing what it can reach: workers of a Ray Train job would outlive it, half-way through
    a save. A trial that is asked through its folder, as by Ctrl-C, ends after that epoch with nothing left running.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        metric = searcher.sweep.lab.metric
        super().__init__(
            time_attr="percent",
            metric="value",
            mode=metric.goal,
            grace_period=GRACE_PERCENT,
            reduction_factor=REDUCTION,
            max_t=MAX_PERCENT,
            stop_last_trials=False,
        )
        self.searcher = searcher
        for trial in searcher.sweep.trials():  # the rungs that trials of earlier commands had reached
            if trial.state() in ("FINISHED", "PRUNED"):
                stand_in = SimpleNamespace(trial_id=f"earlier-{trial.number}")
                self.on_trial_add(None, stand_in)
                for percent, value in reached_rungs(trial.folder, metric.name):
                    result = {"percent": percent, "value": finite(value, metric.goal)}
                    super().on_trial_result(None, stand_in, result)

    def on_trial_result(self, tune_controller: Any, tune_trial: Any, result: dict[str, Any]) -> str:
        """Called by Tune with each report: whether the trial goes on, which it does until it has ended by itself."""
        decision: str = super().on_trial_result(tune_controller, tune_trial, result)
        if decision == TrialScheduler.STOP:
            self.searcher.prune(tune_trial.trial_id)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class BetweenSteps(tune.Callback):  # type: ignore[misc]
    """Between Tune's steps: updates the display, and ends the sweep where that was asked for or its time is over."""

    def __init__(self, searcher: StudySearcher, over: Callable[[], bool], tick: Callable[[], None]) -> None:
        self.searcher, self.over, self.tick = searcher, over, tick
        self.asked_at: float | None = None

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        """Called by Tune several times a second."""
        self.tick()
        if self.asked_at is None and self.over():
            self.asked_at, self.searcher.closed = time.time(), True
        if self.asked_at is not None:
            ask = ask_to_abort if time.time() - self.asked_at > GRACE_S else ask_to_stop
            for trial in self.searcher.running.values():
                ask(trial.folder)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def run_trials(sweep: Sweep, study: "optuna.Study", over: Callable[[], bool], tick: Callable[[], None]) -> None:
    """Run trials until the sweep has all that it asks for, or until it is to end and running trials have saved.

    Args:
        sweep: the sweep, whose lock this process has.
        study: its study.
        over: called several times a second: whether the sweep is to end.
        tick: called several times a second, for the display.
    """
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    end_idle()
    searcher = StudySearcher(sweep, study)
    name = f"tune-{sweep.folder.name}"
    tuner = tune.Tuner(
        tune.with_resources(run_trial, lambda config: placement(Job.model_validate(config["job"]))),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=SuccessiveHalving(searcher) if sweep.tuning.scheduler == "asha" else None,
            num_samples=-1,
            max_concurrent_trials=sweep.concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda tune_trial: tune_trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(sweep.folder / "tune"),
            failure_config=tune.FailureConfig(max_failures=sweep.node.retries),
            callbacks=[BetweenSteps(searcher, over, tick)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        for trial in sweep.trials():  # workers of several stay for the next trial, and end with the process of the last
            release_placement_group(trial.folder)
        remove_leftovers(sweep.folder / "tune", name)
    if searcher.error:
        raise searcher.error


def placement(job: Job) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial: the worker itself with RLlib's actors, or the driver of several workers."""
    if job.workers > 1:
        # On this node, where what the workers write can be read, if there are nodes that do not see the home folder.
        here = {f"node:{ray.util.get_node_ip_address()}": 0.001} if home_files.find() else {}
        return tune.PlacementGroupFactory([DRIVER_BUNDLE | here])
    bundles = [{"CPU": cpus} for cpus in job.bundles]
    bundles[0]["GPU"] = job.gpus_per_worker
    return tune.PlacementGroupFactory(bundles)


def remove_leftovers(storage: Path, name: str) -> None:
    """Remove what Tune wrote for itself: nothing reads it again."""
    shutil.rmtree(storage, ignore_errors=True)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for staged in session.glob(f"artifacts/*/{name}"):
        shutil.rmtree(staged, ignore_errors=True)
