"""What homework 1 delivers beside the submission: learning curves, and a look at the held-out predictions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from labs.core import curves, shards
from labs.core.errors import BadInput
from labs.core.lab import Lab
from labs.core.report import Report
from labs.core.run import Run
from labs.regression import data
from labs.regression.figures import predicted_against_true
from labs.regression.networks import Regressor

HELD_OUT = "held_out.safetensors"
"""In a run's folder: the mask of the rows that each member of the ensemble is validated on."""


def save_held_out(mask: torch.Tensor, run: Run) -> None:
    """Keep the mask of the validation rows, (rows, members) bool, for the report (rank 0)."""
    if run.rank == 0:
        save_file({"mask": mask}, run.file(HELD_OUT))


def write(lab: Lab, model: Regressor, folder: Path, data_dir: Path, out: Path) -> None:
    """Write the report of a run's folder."""
    report = Report(lab, folder, out)
    facts = shards.manifest(data_dir)["facts"]
    table = shards.ArrowDataset(data_dir, "train", ("inputs", "target"))
    inputs, targets = (column.all() for column in table.columns)
    if not (folder / HELD_OUT).exists():
        raise BadInput(f"run {folder.name} has no {HELD_OUT}: an earlier version of the lab trained it; train it again")
    mask = load_file(folder / HELD_OUT)["mask"]

    report.question("a")
    labels = {"train/loss": "training", "val/mse": "validation"}
    figure = curves.figure(folder, "Learning curves", [("mean squared error, (%)²", labels)], log=True)
    report.figure("learning_curves", figure, "Mean squared error by epoch, on a logarithmic axis.")
    report.text(_end(*curves.history(folder, "val/mse")))

    report.question("b")
    held_out, predicted = mask.any(1), held_out_predictions(model, inputs, mask)
    true, before = targets[held_out], inputs[held_out, inputs.shape[1] - facts["block"]]
    report.figure("predicted", predicted_against_true(predicted, true), "Predictions for rows not trained on.")
    guesses = {"this run": predicted, "as on the day before": before, "mean of the training rows": targets.mean()}
    report.table(("prediction", "mean squared error"), ((name, _mse(guess, true)) for name, guess in guesses.items()))

    report.question("c")
    report.text(f"""Each network takes {model.chosen.shape[1]} of the {inputs.shape[1]} columns as its input. The table
                counts, for each column of the survey, the networks that take it, of {len(model.members)} in all.""")
    seen_by = Counter(model.chosen.flatten().tolist())
    first, block = 1 + facts["states"], facts["block"]
    rows = []
    for place, name in enumerate(data.BLOCK):
        columns = [first + day * block + place for day in range(facts["days"])]
        rows.append((name, *(seen_by[column] if column < inputs.shape[1] else "target" for column in columns)))
    report.table(("survey column", *(f"day {day}" for day in range(1, 1 + facts["days"]))), rows)
    report.write()


def held_out_predictions(model: Regressor, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Predictions for the rows of `mask`, (rows, members): the mean over the members that do not train on a row."""
    rows = mask.any(1)
    prepared, offset = model.prepare(inputs[rows])
    weights = mask[rows].float()
    with torch.no_grad():
        predictions: torch.Tensor = offset + (model(prepared) * weights).sum(1) / weights.sum(1)
    return predictions


def _end(epochs: Sequence[int], errors: Sequence[float]) -> str:
    """Whether the training ended at the right time, by the validation error after each epoch."""
    best = min(range(len(errors)), key=errors.__getitem__)
    if best == len(errors) - 1:
        return "The validation error is lowest in the last epoch, so a longer training may lower it further."
    return f"""The validation error is lowest in epoch {epochs[best]}, whose weights are kept; the epochs after it, up
        to {epochs[-1]}, did not lower it further."""


def _mse(guess: torch.Tensor, true: torch.Tensor) -> float:
    return float(((guess - true) ** 2).mean())
