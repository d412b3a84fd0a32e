"""One trial of a sweep on disk: a run folder like any other, whose end is told to the sweep's study."""

import json
import math
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from labs.core import events
from pipelines.home import read_record, result, write_record
from pipelines.node import Planned, begin, job_of, resources
from pipelines.tuning.trainable import finite, reached
from pipelines.worker import clear

if TYPE_CHECKING:
    from optuna import Study

    from pipelines.tuning.sweep import Sweep

State = Literal["RUNNING", "FINISHED", "PRUNED", "FAILED", "KILLED"]


class Trial:
    """One trial's folder."""

    def __init__(self, sweep: "Sweep", number: int) -> None:
        self.sweep, self.number = sweep, number
        self.folder = sweep.folder / "trials" / str(number)

    def begin(self, fields: dict[str, Any]) -> "Trial":
        """Write the trial's record; `BadInput` if the lab does not take such a config on these workers."""
        sweep, lab = self.sweep, self.sweep.lab
        overrides = {**sweep.tuning.space.fixed, **fields}
        config = lab.resolve(sweep.node.preset, sweep.node.size, overrides)
        node = replace(sweep.node, config=config, retries=0)
        gpus, needed = resources(node, sweep.cluster)
        job = job_of(node, gpus, self.folder, sweep.data, sweep.upstream).model_copy(update={"test": False})
        begin(
            Planned(node, sweep.fingerprint, self.folder, job, needed, 0.0),
            sweep.folder,
            suffix=f"-t{self.number}",
            more_tags={"labs.trial": str(self.number)},
            serve=False,
            pruned=False,
            overrides=overrides,
            job=job.model_dump(mode="json"),
        )
        return self

    @property
    def record(self) -> dict[str, Any]:
        return read_record(self.folder)

    @property
    def state(self) -> State:
        """What became of the trial, or that it is to be continued."""
        record = self.record
        status: State = "KILLED" if record["status"] == "WAITING" else record["status"]
        return "PRUNED" if status == "FINISHED" and record["pruned"] else status

    @property
    def value(self) -> float | None:
        """The validation metric of the weights that the trial ended with; None if there is none, or not a number."""
        return self.values[self.sweep.lab.metric.name]

    @property
    def values(self) -> dict[str, float | None]:
        """The same for each of the lab's goals, by name."""
        metrics = result(self.folder).get("metrics", {})
        found = {goal.name: metrics.get(f"val/{goal.name}") for goal in self.sweep.lab.goals}
        if "best/value" in metrics:  # the weights are those of the best epoch, not of the last one
            found[self.sweep.lab.metric.name] = metrics["best/value"]
        return {name: value if value is not None and math.isfinite(value) else None for name, value in found.items()}

    def start(self) -> None:
        """Mark the trial RUNNING, asked for nothing."""
        clear(self.folder)
        write_record(self.folder, status="RUNNING", started=time.time(), error="")

    def tell(self, study: "Study") -> None:
        """Tell the study what became of a trial that has ended."""
        from optuna.trial import Trial as Asked
        from optuna.trial import TrialState

        goals, told = self.sweep.lab.goals, study.get_trials(deepcopy=False)[self.number]
        if told.state.is_finished():
            return
        if self.state == "FINISHED":
            worst = {"min": math.inf, "max": -math.inf}
            values = [worst[goal.goal] if (value := self.values[goal.name]) is None else value for goal in goals]
            study.tell(self.number, values)
        elif self.state == "PRUNED":
            asked = Asked(study, told._trial_id)
            for percent, value in reached(self.folder, goals[0].name) if len(goals) == 1 else ():
                asked.report(finite(value, goals[0].goal), percent)  # Optuna takes none where there are two goals
            study.tell(self.number, state=TrialState.PRUNED)
        elif self.state == "FAILED":
            study.tell(self.number, state=TrialState.FAIL)

    def end(self, state: State, error: str = "") -> None:
        """Record how the trial ended. One that can't go on needs its checkpoints no more."""
        record = self.record
        seconds = record["seconds"] + time.time() - record["started"]
        if state == "PRUNED":
            written = events.read(self.folder)
            ended = {"metrics": written[-1]["metrics"], "steps": written[-1]["step"], "stopped": "pruned"}
            events.write_text(self.folder / "result.json", json.dumps(ended, indent=2))
        if state in ("FINISHED", "PRUNED"):
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        write_record(
            self.folder,
            status="FINISHED" if state == "PRUNED" else state,
            pruned=state == "PRUNED",
            ended=time.time(),
            seconds=seconds,
            error=error,
            end_tags={"labs.trial.state": state},
        )
