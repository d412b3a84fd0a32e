"""The report of homework 15."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labs.core.lab import Lab
from labs.core.report import Report
from labs.meta.figures import MODES, STEPS, accuracy_figure, training_tasks


def write(lab: Lab, config: Any, folder: Path, out: Path, over_steps: Mapping[str, Sequence[float]]) -> None:
    """Write the report of a run's folder.

    Args:
        over_steps: mode -> validation accuracy after each of `STEPS` inner steps.
    """
    report = Report(lab, folder, out)

    report.question("a")
    tasks, over_tasks = training_tasks(folder, config.steps * config.meta_batch)
    pool = f"of a pool of {config.tasks:,}" if config.tasks else "each seen once"
    figure = accuracy_figure(tasks, over_tasks, "A model for each epoch", f"training tasks, {pool}")
    report.figure("training_tasks", figure, "Validation accuracy by the number of training tasks.")
    _table(report, "training tasks", tasks, over_tasks)
    report.text(_sentence("training tasks", tasks, over_tasks))
    different = min(config.tasks or tasks[-1], tasks[-1])
    report.text(f"""A longer training also takes more steps. Of this run's training tasks, {different:,} are different
                ones (`tasks={config.tasks}`); `labs pipeline run meta-report` changes this number and keeps the steps,
                and `labs compare --pipeline meta-report` then sets the accuracies side by side.""")

    report.question("b")
    label = f"inner steps at inference; {config.inner_steps} in training"
    figure = accuracy_figure(STEPS, over_steps, "The trained model", label)
    report.figure("inner_steps", figure, "Validation accuracy by the number of inner steps at inference.")
    _table(report, "inner steps", STEPS, over_steps)
    report.text(_sentence("inner steps", STEPS, over_steps))
    report.write()


def _table(report: Report, of: str, numbers: Sequence[int], lines: Mapping[str, Sequence[float]]) -> None:
    rows = zip(numbers, *(lines[mode] for mode in MODES), strict=True)
    report.table((of, *(f"accuracy, {how}" for how in MODES.values())), rows)


def _sentence(of: str, numbers: Sequence[int], lines: Mapping[str, Sequence[float]]) -> str:
    """The highest of the transductive accuracies, beside the first and the last one."""
    values = lines["accuracy"]
    if len(values) == 1:
        return f"The transductive accuracy is {values[0]:.3f} with {numbers[0]:,} {of}; one number shows no dependence."
    best = max(range(len(values)), key=values.__getitem__)
    return (
        f"The transductive accuracy is {values[0]:.3f} with {numbers[0]:,} {of}, "
        f"{values[-1]:.3f} with {numbers[-1]:,}, and highest with {numbers[best]:,}: {values[best]:.3f}."
    )
