"""The report of homework 13: the student layer by layer, the teacher pruned, and what each network costs."""

import csv
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn

from labs.compression.pruning import prune_channels, prune_weights
from labs.compression.quantization import quantize
from labs.compression.student import Student
from labs.core.cost import megabytes, milliseconds, parameters, table
from labs.core.shards import ArrowDataset

RATIOS = (0.2, 0.4, 0.6, 0.8)
"""Shares of the teacher's weights, or channels, that are pruned."""
TIMED = 16
"""Pictures of a batch whose forward is timed."""
CALIBRATION = 256
"""Training pictures that int8's ranges are taken from."""
PRUNING = ("pruned", "ratio", "parameters", "megabytes", "milliseconds", "val_accuracy")
COSTS = ("network", "parameters", "megabytes", "milliseconds", "val_accuracy")
Cost = tuple[int, float, float, float]
Row = tuple[str, float, int, float, float, float]


def write_report(
    out: Path,
    teacher: nn.Module,
    student: Student,
    training: ArrowDataset,
    validation: ArrowDataset,
    device: torch.device,
) -> None:
    """Write `parameters.csv`, `pruning.csv`, `pruning.png` and `costs.csv` to the folder `out`.

    Args:
        teacher: in eval mode, on the CPU; pictures as they are stored to logits.
        student: in eval mode, on the CPU.
        training: gives images for a tensor of indices.
        validation: gives images and labels.
        device: where accuracies are measured; time is the CPU's.
    """
    layers = table(student)
    _write(out / "parameters.csv", ("layer", "kind", "parameters"), [*layers, ("total", "", parameters(student))])
    rows: list[Row] = []
    whole = measure(teacher, validation, device)
    for kind, prune in {"weights, masked": prune_weights, "channels, taken out": prune_channels}.items():
        rows.append((kind, 0.0, *whole))
        rows += [(kind, ratio, *measure(prune(teacher, ratio), validation, device)) for ratio in RATIOS]
    _write(out / "pruning.csv", PRUNING, rows)
    plot(rows).savefig(out / "pruning.png", dpi=100, bbox_inches="tight")
    quantized = deepcopy(student)
    quantized.net = quantize(student.net, student.normalise(training[torch.arange(min(CALIBRATION, len(training)))][0]))
    costs = {
        "teacher, fp32": whole,
        "student, fp32": measure(student, validation, device),
        # An int8 network has packed weights in place of parameters, and runs on the CPU only.
        "student, int8": (parameters(student), *measure(quantized, validation, torch.device("cpu"))[1:]),
    }
    _write(out / "costs.csv", COSTS, [(name, *cost) for name, cost in costs.items()])


def measure(model: nn.Module, validation: ArrowDataset, device: torch.device) -> Cost:
    """Parameters, megabytes, milliseconds a picture on the CPU, and accuracy on the validation pictures."""
    images = validation[torch.arange(min(TIMED, len(validation)))][0]
    size, time = megabytes(model), milliseconds(model, images)
    hits, model = 0, deepcopy(model).to(device)
    with torch.no_grad():
        for part in torch.arange(len(validation)).split(256):
            images, labels = (tensor.to(device) for tensor in validation[part])
            hits += int((model(images).argmax(1) == labels).sum())
    return parameters(model), size, time, hits / len(validation)


def plot(rows: list[Row]) -> Figure:
    """Accuracy and time against the share that was pruned: masked weights are multiplied all the same."""
    figure = Figure(figsize=(11, 4.5))
    for axes, column in zip(figure.subplots(1, 2), ("val_accuracy", "milliseconds"), strict=True):
        for kind in dict.fromkeys(row[0] for row in rows):
            points = [(row[1], row[PRUNING.index(column)]) for row in rows if row[0] == kind]
            axes.plot(*zip(*points, strict=True), "o-", label=kind)
        axes.set(xlabel="share of the teacher pruned", ylabel=column, ylim=(0, None))
        axes.legend()
    figure.suptitle("Masked weights are multiplied all the same, so masking makes nothing faster or smaller")
    return figure


def _write(file: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with file.open("w", newline="") as handle:
        rounded = ([round(cell, 4) if isinstance(cell, float) else cell for cell in row] for row in rows)
        csv.writer(handle).writerows([header, *rounded])
