"""The report of homework 3."""

from pathlib import Path
from typing import Any

import torch

from labs.cnn.figures import augmentation
from labs.core import curves, shards
from labs.core.cost import count_parameters
from labs.core.lab import Lab
from labs.core.report import Report


def write(lab: Lab, model: Any, folder: Path, data_dir: Path, out: Path) -> None:
    """Write the report of a run's folder."""
    config, report = model.config, Report(lab, folder, out)

    report.question("a")
    image = shards.ArrowDataset(data_dir, "train", ("image",))[torch.arange(1)][0][0]
    used = f"The run trains with augmentation of strength {config.augment:g}."
    report.text(f"""{used if config.augment else "The run trains without augmentation; shown is that of strength 1."}
                Random crops, rotations, flips, changes of colour and random erasing give another image each time.""")
    report.figure("augmentation", augmentation(image, config.augment or 1.0), "A training image, augmented five times.")

    report.question("b")
    best = max(curves.history(folder, "val/accuracy")[1])
    header = ("network", "parameters", "validation accuracy at best")
    report.table(header, [(config.network, count_parameters(model), best)])
    panels = [("loss, nats", {"train/loss": "training loss"}), ("accuracy", {"val/accuracy": "validation"})]
    report.figure("learning_curves", curves.figure(folder, f"Network: {config.network}", panels), "Learning curves.")
    report.text("""`labs pipeline run cnn-report` trains the six layers without (`six`) and with shortcuts
                (`six-residual`), and `labs compare --pipeline cnn-report` sets them side by side. With shortcuts, the
                gradient also reaches the first layers past the convolutions.""")
    report.write()
