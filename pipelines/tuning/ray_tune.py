"""A sweep's trials on Ray Tune: reused processes, early stopping, one retry, and nothing left behind.

Tune gets its trials from the sweep's own study and keeps no state that anything depends on. Ray must be connected
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

from labs.core.run import STOP
from pipelines.interrupts import GRACE_S
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trainable import GRACE_PERCENT, MAX_PERCENT, REDUCTION, finite, reached, trial
from pipelines.tuning.trial import State, Trial
from pipelines.worker import ABORT, Job

if TYPE_CHECKING:
    from optuna import Study

SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # trials save and end before Tune does
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trials' folders have it all
    "RAY_AIR_NEW_OUTPUT": "0",  # the other kind of output is silent where it is told to be
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
}
FOR_DRIVER = {"memory": 2.0**20}
"""What a trial takes whose workers do the work: no CPU, else trials could take what their own workers wait for. A
trial must take something, and so little memory is never short."""


class Trials(Searcher):  # type: ignore[misc]
    """Hands trials to Tune: first those that are to be continued, then new ones from the study.

    Args:
        sweep: the sweep.
        study: its study.
    """

    def __init__(self, sweep: Sweep, study: "Study") -> None:
        super().__init__()
        self.sweep, self.study = sweep, study
        begun = list(sweep.trials())
        self.to_continue = [found for found in begun if found.state == "KILLED"]
        self.begun = len(begun)
        self.running: dict[str, Trial] = {}
        self.pruned: set[str] = set()
        self.closed = False
        self.error: Exception | None = None
        self.left = sweep.tuning.space.grid()[self.begun :] if sweep.tuning.search == "grid" else None

    def suggest(self, trial_id: str) -> Any:
        """Tune's question for one more trial."""
        if self.closed:
            return Searcher.FINISHED
        if self.to_continue:
            found = self.to_continue.pop(0)
        elif self.begun >= self.sweep.tuning.trials or self.left == []:
            return Searcher.FINISHED
        else:
            try:
                found = self._next()
            except Exception as error:  # Tune would hide it behind its own; raised again at the end
                self.error, self.closed = error, True
                return Searcher.FINISHED
        found.start()
        self.running[trial_id] = found
        metric = self.sweep.lab.metric
        job = {**found.record["job"], "folder": str(found.folder), "data": str(self.sweep.data)}
        scheduled = self.sweep.tuning.scheduler != "none"
        return {"job": job, "metric": metric.name, "goal": metric.goal, "scheduled": scheduled}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Tune's notice that a trial has ended, in whatever way."""
        found = self.running.pop(trial_id)
        state, why = outcome(found, trial_id in self.pruned, error)
        found.end(state, why)
        found.tell(self.study)
        self.sweep.log_progress()

    def prune(self, trial_id: str) -> None:
        """Ask a running trial to end: it stops at once, and its process is free for the next one."""
        self.pruned.add(trial_id)
        (self.running[trial_id].folder / STOP).touch()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that nobody does

    def _next(self) -> Trial:
        if self.left is not None:
            self.study.enqueue_trial(self.left.pop(0))
        self.begun += 1
        return self.sweep.sample(self.study)


def outcome(found: Trial, pruned: bool, error: bool) -> tuple[State, str]:
    """How a trial ended and, where it failed, why: read from what it left in its folder."""
    if (found.folder / "result.json").exists():
        return "FINISHED", ""
    if error:
        text = found.folder / "error.txt"
        return "FAILED", text.read_text().split("\n")[0] if text.exists() else "its process was lost, twice"
    return ("PRUNED" if pruned else "KILLED"), ""


class Halving(ASHAScheduler):  # type: ignore[misc]
    """Successive halving (Li et al., ASHA, arXiv:1810.05934) whose losers end by themselves.

    Tune would stop a trial by killing what it can reach: workers of a Train job would outlive it, half-way through a
    save. A trial that is asked through its folder, as by Ctrl-C, ends at that very report with nothing left running.
    """

    def __init__(self, trials: Trials) -> None:
        metric = trials.sweep.lab.metric
        super().__init__(
            time_attr="percent",
            metric="value",
            mode=metric.goal,
            grace_period=GRACE_PERCENT,
            reduction_factor=REDUCTION,
            max_t=MAX_PERCENT,
            stop_last_trials=False,
        )
        self.trials = trials
        for found in trials.sweep.trials():  # what earlier commands' trials had reached
            if found.state in ("FINISHED", "PRUNED"):
                stand_in = SimpleNamespace(trial_id=f"earlier-{found.number}")
                self.on_trial_add(None, stand_in)
                for percent, value in reached(found.folder, metric.name):
                    result = {"percent": percent, "value": finite(value, metric.goal)}
                    super().on_trial_result(None, stand_in, result)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune's question whether the trial goes on."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self.trials.prune(trial.trial_id)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Watcher(tune.Callback):  # type: ignore[misc]
    """Between Tune's steps: the display, and the end of the sweep where it is asked for or its time is over."""

    def __init__(self, trials: Trials, over: Callable[[], bool], tick: Callable[[], None]) -> None:
        self.trials, self.over, self.tick = trials, over, tick
        self.asked = 0.0

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        """Called by Tune several times a second."""
        self.tick()
        if not self.asked and self.over():
            self.asked, self.trials.closed = time.time(), True
        if self.asked:
            late = time.time() - self.asked > GRACE_S
            for found in self.trials.running.values():
                (found.folder / (ABORT if late else STOP)).touch()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def run_trials(sweep: Sweep, study: "Study", over: Callable[[], bool], tick: Callable[[], None]) -> None:
    """Run trials until the sweep has as many as wanted, or running ones shall save and end.

    Args:
        sweep: the sweep, whose lock this process has.
        study: its study.
        over: looked at several times a second: whether the sweep shall end.
        tick: called several times a second, for the display.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    source = Trials(sweep, study)
    name = f"tune-{sweep.folder.name}"
    tuner = tune.Tuner(
        tune.with_resources(trial, lambda config: takes(Job.model_validate(config["job"]))),
        tune_config=tune.TuneConfig(
            search_alg=source,
            scheduler=Halving(source) if sweep.tuning.scheduler == "asha" else None,
            num_samples=-1,
            max_concurrent_trials=sweep.concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda found: found.trial_id,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(sweep.folder / "tune"),
            failure_config=tune.FailureConfig(max_failures=1),
            callbacks=[Watcher(source, over, tick)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        remove_leftovers(sweep.folder / "tune", name)
    if source.error:
        raise source.error


def takes(job: Job) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial: the worker itself with RLlib's actors, or the driver of several workers."""
    if job.workers > 1:
        return tune.PlacementGroupFactory([FOR_DRIVER])
    bundles = [{"CPU": cpus} for cpus in job.bundles]
    bundles[0] = {"CPU": max(job.cpus_per_worker, bundles[0]["CPU"]), "GPU": job.gpus_per_worker}
    return tune.PlacementGroupFactory(bundles)


def remove_leftovers(storage: Path, name: str) -> None:
    """Remove what Tune wrote for itself: nothing reads it again."""
    shutil.rmtree(storage, ignore_errors=True)
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for staged in session.glob(f"artifacts/*/{name}"):
        shutil.rmtree(staged, ignore_errors=True)
