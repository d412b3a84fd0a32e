"""The report of homework 14."""

import shutil
from pathlib import Path
from typing import Any

from labs.core import curves
from labs.core.lab import Lab
from labs.core.report import Report
from labs.lifelong.figures import MATRIX, accuracy_curve, matrix_figure, read_matrix
from labs.lifelong.scenarios import task_names
from labs.lifelong.transfer import MEASURES

IMPORTANCE = {
    "ewc": "squared gradient of the labels' log-likelihood: the diagonal of the Fisher information",
    "mas": "absolute gradient of `sum_k f_k(x)^2`, the squared norm of the outputs; no labels are needed",
    "si": "how much the parameter's changes lowered the loss while the task was learnt, a path integral",
    "rwalk": "a running Fisher information plus a path integral of the loss",
    "scp": "squared gradient of the mean output's random projections; no labels are needed",
}
"""Method -> its measure of a parameter's importance; the other methods have none."""


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

    report.question("c")
    report.text("""The penalty on changes is `lambda * sum_i importance_i * (theta_i - theta*_i)^2`, where `theta*` are
                the parameters after the task before. The methods differ in the importance:""")
    report.table(("method", "importance of a parameter"), IMPORTANCE.items())
    report.write()
