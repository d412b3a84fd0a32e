"""Sweeps whose trials no lab has trained: a function says what each one comes to."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import labs
from cluster.capacity import Cluster, Resources
from labs.core import events
from pipelines import datasets
from pipelines.home import RESULT, write_record
from pipelines.spec import Node, tuning_of
from pipelines.spec_fields import TuneSpec
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trial import State

EPOCHS, TRIAL_S = 10, 10.0
"""Epochs of a trial that is not pruned, and its seconds."""
Outcome = tuple[State, *tuple[float, ...]]
"""How a trial has ended, and the last value of each of the lab's goals."""


def stand_in_sweep(home: Path, lab: str, outcome: Callable[[int, Mapping[str, Any]], Outcome], **tune: Any) -> Sweep:
    """A sweep of a lab at its first preset and size tiny, with all of its trials.

    Args:
        home: the home folder.
        lab: the lab.
        outcome: takes a trial's number and its searched fields.
        tune: fields of a `TuneSpec`.
    """
    found, preset = labs.get(lab), labs.heading(lab).presets[0]
    node = Node(lab, lab, preset, "tiny", found.resolve(preset, "tiny"))
    tuning = tuning_of(TuneSpec(**tune), found, preset, "tiny", {})
    sweep = Sweep(home, node, tuning, Cluster({"node": Resources(1)}), datasets.prepared(home, found, "tiny", None), {})
    sweep.create_record()
    study = sweep.study()
    search = sweep.search(study)
    for number in range(tuning.trials):
        trial = sweep.sample(search)
        trial.start()
        state, *values = outcome(number, trial.record()["overrides"])
        metrics = {f"val/{goal.name}": value for goal, value in zip(found.goals, values, strict=True)}
        for step in range(1, (3 if state == "PRUNED" else EPOCHS) + 1):
            events.append(trial.folder, {"time": time.time(), "step": step, "of": EPOCHS, "metrics": metrics})
        if state == "FINISHED":
            events.write_text(trial.folder / RESULT, json.dumps({"metrics": metrics, "steps": EPOCHS}))
        trial.end(state)
        write_record(trial.folder, seconds=TRIAL_S, serve=False)
        trial.record_in(study)
        search.learn(trial.number)
    return sweep
