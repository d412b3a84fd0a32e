"""The report of homework 14."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labs.core import curves
from labs.core.lab import Lab
from labs.core.report import Report
from labs.lifelong.figures import MATRIX, accuracy_curve, matrix_figure, read_matrix
from labs.lifelong.scenarios import task_names
from labs.lifelong.transfer import MEASURES, Matrix

IMPORTANCE = {
    "ewc": "squared gradient of the labels' log-likelihood: the diagonal of the Fisher information",
    "mas": "absolute gradient of `sum_k f_k(x)^2`, the squared norm of the outputs; no labels are needed",
    "si": "how much the parameter's changes lowered the loss while the task was learnt, a path integral",
    "rwalk": "a running Fisher information plus a path integral of the loss",
    "scp": "squared gradient of the mean output's random projections; no labels are needed",
}
"""Method -> its measure of a parameter's importance; the other methods have none."""
SCENARIOS = {
    "rotated": "domain-incremental: all tasks have the same ten classes, but images of another distribution",
    "permuted": "domain-incremental: all tasks have the same ten classes, but the pixels in another order",
    "class-incremental": "class-incremental: each task has classes of its own, and the network chooses among all ten",
}
"""Scenario of the config -> that of van de Ven & Tolias (arXiv:1904.07734), and why."""
MEMORIES = {
    "LwF": "no images: the network before the task labels the new task's images (`lwf`)",
    "iCaRL": "some images of each class, for replay, distillation and the mean features that classify",
    "GEM": "some images of each task, whose loss no step may raise; `agem` does so for their mean",
    "DGR": "no images: a generative model is trained to make some that resemble the old ones, for replay",
}
"""Further methods against forgetting -> what they keep of the old tasks."""


def write(lab: Lab, config: Any, folder: Path, out: Path) -> None:
    """Write the report of a run's folder."""
    names = task_names(config.scenario, config.angles)
    report = Report(lab, folder, out)

    report.question("a")
    report.text(f"""Method `{config.method}`. `labs pipeline run lifelong-report` trains the course's six methods;
                `labs compare --pipeline lifelong-report --figure methods.png` then draws their mean accuracies in one
                figure.""")
    figure = accuracy_curve(folder, names, config.epochs_per_task)
    report.figure("acc_summary", figure, "Accuracy on held-out training images while the tasks are learnt.")

    report.question("b")
    report.text("""After each epoch, the mean of the accuracies on the tasks seen so far, the present one included. It
                falls where an old task is forgotten, and where a new one is learnt less well.""")
    shutil.copyfile(folder / MATRIX, out / MATRIX)
    header, rows = read_matrix(folder / MATRIX)
    report.table(header, ((name, *map(float, values)) for name, *values in rows))
    report.figure("task_matrix", matrix_figure(folder / MATRIX), "A row after each task, a column for each task.")
    if len(names) > 1:
        measured = ((name.replace("_", " "), curves.history(folder, f"val/{name}")[1][-1]) for name in MEASURES)
        report.table(("measure", "at the end"), measured)
        report.text(_most_forgotten(names, [[*map(float, values)] for _, *values in rows]))

    report.question("c")
    report.text("""The penalty on changes is `lambda * sum_i importance_i * (theta_i - theta*_i)^2`, where `theta*` are
                the parameters after the task before. The methods differ in the importance:""")
    report.table(("method", "importance of a parameter"), IMPORTANCE.items())

    report.question("d")
    report.text("""MAS and SCP: both measure how sensitive the outputs are, not the loss. EWC needs the labels of a
                finished task for its log-likelihood; SI and RWalk need them while they train, for the gradient of the
                loss.""")

    report.question("e")
    report.text(f"""{SCENARIOS[config.scenario].capitalize()}. It would be task-incremental if the network were told the
                task of each test image, so that it could have outputs of its own for each task.""")

    report.question("f")
    report.text("iCaRL and GEM.")
    report.table(("method", "what it keeps"), MEMORIES.items())
    report.write()


def _most_forgotten(names: Sequence[str], matrix: Matrix) -> str:
    """The task whose accuracy has fallen most from its highest value since it was learnt, of all but the last task."""
    best = [max(row[task] for row in matrix[task + 1 :]) for task in range(len(names) - 1)]
    falls = [high - last for high, last in zip(best, matrix[-1], strict=False)]
    task = max(range(len(falls)), key=falls.__getitem__)
    if falls[task] <= 0:
        return "At the end no task's accuracy is below its highest value."
    return f"Task {task + 1}, {names[task]}, is forgotten most: from {best[task]:.3f} to {matrix[-1][task]:.3f}."
