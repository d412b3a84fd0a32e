"""A sweep from its first trial to its report: the trials, the best one's score on the test set, the figures."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labs.core import events
from pipelines.home import Status, read_record, result, write_record
from pipelines.tracking import snapshot
from pipelines.tracking.writer import reopen
from pipelines.show.sweep import draw, write_config
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trial import Trial


def conduct(sweep: Sweep, stopped: Callable[[], bool], tick: Callable[[], None]) -> Status:
    """Run what is left of a sweep that has begun and whose lock the caller has; returns how it ended.

    Args:
        sweep: the sweep.
        stopped: looked at several times a second: whether running trials shall save and end, to be continued.
        tick: called several times a second, for the display.
    """
    study = sweep.study()
    for found in sweep.trials():
        found.tell(study)
    start, before = time.time(), read_record(sweep.folder)["seconds"]
    write_record(sweep.folder, status="RUNNING", started=start, error="")
    snapshot.write_environment(sweep.folder)
    status: Status = "FAILED"
    try:
        if not sweep.complete:
            from pipelines.tuning import ray_tune  # once Ray is connected

            deadline = start + (sweep.tuning.seconds or float("inf"))
            ray_tune.run_trials(sweep, study, lambda: stopped() or time.time() > deadline, tick)
        best = sweep.best()
        status = "KILLED" if stopped() else "FINISHED" if best else "FAILED"
        if best and status == "FINISHED":
            _crown(sweep, best, study)
            draw(sweep, study)
    finally:
        study._storage.remove_session()
        _conclude(sweep, status, before + time.time() - start)
    return status


def _crown(sweep: Sweep, best: Trial, study: Any) -> None:
    """Score the best trial on the test set, once, and mark it; one that was the best before no longer is."""
    for found in sweep.trials():
        if found.number != best.number and found.record.get("alias"):
            _mark(found, alias=None, serve=False)
    metrics = result(best.folder)["metrics"]
    if f"test/{sweep.lab.metric.name}" not in metrics:
        judged = sweep.lab.deliver_and_score(best.folder, sweep.data)
        ended = result(best.folder)
        events.append(best.folder, {"time": best.record["ended"], "step": ended["steps"], "metrics": judged})
        snapshot.write_environment(best.folder)
        _write_result(best.folder, {**ended, "metrics": {**metrics, **judged}})
    if not best.record.get("alias"):
        _mark(best, alias=f"best-{sweep.lab.name}", serve=True)
    write_config(best, sweep.folder / "best.yaml")
    if sweep.lab.second:
        front = sorted(found.number for found in study.best_trials)
        write_record(sweep.folder, front=front)
        for number in front:
            write_config(Trial(sweep, number), sweep.folder / "files" / f"front-{number}.yaml")
    test = {name: value for name, value in result(best.folder)["metrics"].items() if name.startswith("test/")}
    _write_result(sweep.folder, {"metrics": {"best/value": best.value, **test}, "steps": len(list(sweep.trials()))})


def _conclude(sweep: Sweep, status: Status, seconds: float) -> None:
    states = [found.state for found in sweep.trials()]
    tags: dict[str, Any] = {f"labs.trials.{state.lower()}": states.count(state) for state in sorted(set(states))}
    if best := sweep.best():
        tags.update({"labs.best.trial": best.number, "labs.best.value": best.value})
    asked = [sweep.tuning.trials, sweep.tuning.seconds]
    write_record(sweep.folder, status=status, ended=time.time(), seconds=seconds, asked=asked, end_tags=tags)
    reopen(sweep.folder)


def _write_result(folder: Path, ended: dict[str, Any]) -> None:
    events.write_text(folder / "result.json", json.dumps(ended, indent=2))


def _mark(found: Trial, **fields: Any) -> None:
    tags = {**found.record["end_tags"], "labs.best": str(bool(fields["alias"]))}
    write_record(found.folder, end_tags=tags, **fields)
    reopen(found.folder)
