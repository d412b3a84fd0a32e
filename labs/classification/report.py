"""The report of homework 2: this run's row of the tables that compare several runs."""

from pathlib import Path
from typing import Any

from labs.core import curves
from labs.core.cost import count_parameters
from labs.core.lab import Lab
from labs.core.report import Report


def write(lab: Lab, model: Any, folder: Path, out: Path) -> None:
    """Write the report of a run's folder, whose events have `train/accuracy` and `val/accuracy`."""
    config, parameters = model.config, count_parameters(model)
    report = Report(lab, folder, out)

    report.question("a")
    train, val = (curves.history(folder, f"{split}/accuracy")[1] for split in ("train", "val"))
    shape = f"{config.network}, {config.layers} x {config.hidden}"
    header = ("network, hidden layers x units", "parameters", "training accuracy", "validation accuracy", "at best")
    report.table(header, [(shape, parameters, train[-1], val[-1], max(val))])
    labels = {"train/accuracy": "training", "val/accuracy": "validation"}
    figure = curves.figure(folder, f"{shape}: {parameters:,} parameters", [("accuracy over frames", labels)])
    report.figure("accuracy", figure, "Accuracy by epoch.")
    report.text("""`labs pipeline run classification-report` trains a deep and a wide network of the same size, and
                `labs compare --pipeline classification-report` sets its runs side by side.""")

    report.question("b")
    columns = ("dropout", "training accuracy", "validation accuracy", "difference")
    report.table(columns, [(config.dropout, train[-1], val[-1], train[-1] - val[-1])])
    report.text("""While training, accuracy is measured with dropout, which lowers it. The three rates of the question
                are runs of the same pipeline.""")
    report.write()
