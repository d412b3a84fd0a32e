"""A sweep from its first trial to its figures: the trials, and the best one's score on the test set."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.core import events
from pipelines.home import RESULT, Status, read_record, result, write_record
from pipelines.record_fields import BEST
from pipelines.show.sweep_figures import draw
from pipelines.torch_lock import TORCH_LOCK
from pipelines.tracking import snapshot
from pipelines.tracking.writer import reopen
from pipelines.tuning.best_config import write_config
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trial import SweepTrial

if TYPE_CHECKING:
    import optuna


def conduct(sweep: Sweep, stopped: Callable[[], bool], tick: Callable[[], None]) -> Status:
    """Run what is left of a sweep that has a record and whose lock the caller holds; returns how it ended.

    Args:
        sweep: the sweep.
        stopped: called several times a second: whether running trials are to save and end, to be continued later.
        tick: called several times a second, for the display.
    """
    study = sweep.study()
    finished = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}
    for trial in sweep.trials(known=finished):
        trial.record_in(study)
    start, before = time.time(), read_record(sweep.folder)["seconds"]
    write_record(sweep.folder, status="RUNNING", started=start, error="")
    snapshot.write_environment(sweep.folder)
    status: Status = "FAILED"
    try:
        if not sweep.complete():
            from pipelines.tuning import ray_tune  # once Ray is connected

            deadline = start + (sweep.tuning.seconds or float("inf"))
            ray_tune.run_trials(sweep, study, lambda: stopped() or time.time() > deadline, tick)
        best = sweep.best()
        status = "KILLED" if stopped() else "FINISHED" if best else "FAILED"
        if best and status == "FINISHED":
            _finish(sweep, best, study)
    finally:
        study._storage.remove_session()
        _record_end(sweep, status, before + time.time() - start)
    return status


def _finish(sweep: Sweep, best: SweepTrial, study: "optuna.Study") -> None:
    """Score and mark the best trial; write its config, the front of two goals, the sweep's result and its figures."""
    for trial in sweep.trials():  # one that was the best before no longer is
        if trial.number != best.number and trial.record().get("alias"):
            _mark(trial, alias=None, serve=False)
    _score(sweep, best)
    if not best.record().get("alias"):
        _mark(best, alias=f"best-{sweep.lab.name}", serve=True)
    write_config(sweep, best, sweep.folder / "best.yaml")
    if sweep.lab.second:
        _write_front(sweep, study)
    test = {name: value for name, value in result(best.folder)["metrics"].items() if name.startswith("test/")}
    _write_result(sweep.folder, {"metrics": {"best/value": best.value(), **test}, "steps": len(list(sweep.trials()))})
    draw(sweep.folder)


def _score(sweep: Sweep, best: SweepTrial) -> None:
    """Score the trial on the test set, once."""
    ended = result(best.folder)
    if f"test/{sweep.lab.metric.name}" in ended["metrics"]:
        return
    with TORCH_LOCK:
        judged = sweep.lab.deliver_and_score(best.folder, sweep.data)
    events.append(best.folder, {"time": best.record()["ended"], "step": ended["steps"], "metrics": judged})
    snapshot.write_environment(best.folder)
    _write_result(best.folder, {**ended, "metrics": {**ended["metrics"], **judged}})


def _write_front(sweep: Sweep, study: "optuna.Study") -> None:
    """Note the trials that no other trial beats in both goals, and write their configs."""
    front = sorted(found.number for found in study.best_trials)
    write_record(sweep.folder, front=front)
    for number in front:
        write_config(sweep, sweep.trial(number), sweep.folder / "files" / f"front-{number}.yaml")


def _record_end(sweep: Sweep, status: Status, seconds: float) -> None:
    states = [trial.state() for trial in sweep.trials()]
    tags: dict[str, Any] = {f"labs.trials.{state.lower()}": states.count(state) for state in sorted(set(states))}
    if best := sweep.best():
        tags.update({BEST: best.number, "labs.best.value": best.value()})
    asked = [sweep.tuning.trials, sweep.tuning.seconds]
    write_record(sweep.folder, status=status, ended=time.time(), seconds=seconds, asked=asked, end_tags=tags)
    reopen(sweep.folder)


def _write_result(folder: Path, ended: dict[str, Any]) -> None:
    events.write_text(folder / RESULT, json.dumps(ended, indent=2))


def _mark(trial: SweepTrial, *, alias: str | None, serve: bool) -> None:
    """Set or remove the mark of the best trial; `serve` says whether its model goes into the store."""
    tags = {**trial.record()["end_tags"], "labs.best": str(bool(alias))}
    write_record(trial.folder, end_tags=tags, alias=alias, serve=serve)
    reopen(trial.folder)
