"""One trial of a sweep on disk: a run folder like any other, whose end is recorded in the sweep's study as well."""

import json
import math
import os
import shutil
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labs.core import events
from labs.core.lab import Lab
from pipelines.home import RESULT, has_record, read_record, result, write_record
from pipelines.requests import clear
from pipelines.tuning.rungs import finite, reached_rungs

if TYPE_CHECKING:
    import optuna

State = Literal["RUNNING", "FINISHED", "PRUNED", "FAILED", "KILLED"]
ENDED = ("FINISHED", "PRUNED", "FAILED")
"""States of a trial that is not continued."""


class SweepTrial:
    """One trial's folder.

    Args:
        folder: the folder, named by the trial's number in the sweep's study.
        lab: the lab that is tuned.
    """

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder, self.lab, self.number = folder, lab, int(folder.name)

    def record(self) -> dict[str, Any]:
        """The folder's record."""
        return read_record(self.folder)

    def state(self) -> State:
        """How the trial ended; KILLED if it is to be continued."""
        record = self.record()
        status: State = "KILLED" if record["status"] == "WAITING" else record["status"]
        return "PRUNED" if status == "FINISHED" and record["pruned"] else status

    def outcome(self) -> str:
        """What people are told of it: its state, and DIVERGED if it has finished without a finite value."""
        return self._outcome(self.state())

    def _outcome(self, state: State) -> str:
        return "DIVERGED" if state == "FINISHED" and self.value() is None else state

    def value(self) -> float | None:
        """The validation metric of the weights that the trial ended with; None if it is missing or not a number."""
        return self.values()[self.lab.metric.name]

    def values(self) -> dict[str, float | None]:
        """The same for each of the lab's goals, by name."""
        metrics = result(self.folder).get("metrics", {})
        found = {goal.name: metrics.get(f"val/{goal.name}") for goal in self.lab.goals}
        found = {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}
        return {**found, self.lab.metric.name: self.lab.metric.validated(metrics)}

    def start(self) -> None:
        """Mark the trial RUNNING, without an error or a request of an earlier command."""
        clear(self.folder)
        write_record(self.folder, status="RUNNING", started=time.time(), error="")

    def end(self, state: State, error: str = "") -> None:
        """Record how the trial ended. A trial that is not continued needs its checkpoints no more."""
        record = self.record()
        seconds = record["seconds"] + time.time() - record["started"]
        if state == "PRUNED":
            last = events.read(self.folder)[-1]
            ended = {"metrics": last["metrics"], "steps": last["step"], "stopped": "pruned"}
            events.write_text(self.folder / RESULT, json.dumps(ended, indent=2))
        if state in ("FINISHED", "PRUNED"):
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        write_record(
            self.folder,
            status="FINISHED" if state == "PRUNED" else state,
            pruned=state == "PRUNED",
            ended=time.time(),
            seconds=seconds,
            error=error,
            end_tags={"labs.trial.state": self._outcome(state)},
        )

    def record_in(self, study: "optuna.Study") -> None:
        """Record in the study how the trial ended, unless the study has it already or the trial is to be continued."""
        import optuna

        in_study, state = study.get_trials(deepcopy=False)[self.number], self.state()
        if in_study.state.is_finished():
            return
        if state == "FINISHED":
            study.tell(self.number, self._study_values())
        elif state == "PRUNED":
            if len(self.lab.goals) == 1:  # Optuna takes no intermediate values where there are two goals
                metric, optuna_trial = self.lab.metric, optuna.trial.Trial(study, in_study._trial_id)
                for percent, value in reached_rungs(self.folder, metric.name):
                    optuna_trial.report(finite(value, metric.goal), percent)
            study.tell(self.number, state=optuna.trial.TrialState.PRUNED)
        elif state == "FAILED":
            study.tell(self.number, state=optuna.trial.TrialState.FAIL)

    def _study_values(self) -> list[float]:
        """The value of each goal; infinity on the bad side for one that is not a number."""
        worst, values = {"min": math.inf, "max": -math.inf}, self.values()
        return [worst[goal.goal] if (value := values[goal.name]) is None else value for goal in self.lab.goals]


def best_of(sweep: Path, lab: Lab) -> SweepTrial | None:
    """The trial of a sweep's folder with the best value of those that were run to their end."""
    best, best_value = None, None
    for trial in trials_of(sweep, lab):
        value = trial.value() if trial.state() == "FINISHED" else None
        if value is not None and lab.metric.better(value, best_value):
            best, best_value = trial, value
    return best


def trials_of(sweep: Path, lab: Lab, known: Container[int] = ()) -> Iterator[SweepTrial]:
    """The trials of a sweep's folder that were begun, in their order, without those whose numbers are known."""
    place = sweep / "trials"
    numbers = sorted(int(name) for name in os.listdir(place) if name.isdigit()) if place.exists() else []
    trials = (SweepTrial(place / str(number), lab) for number in numbers if number not in known)
    yield from (trial for trial in trials if has_record(trial.folder))
