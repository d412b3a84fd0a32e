"""The report of homework 13: the student's layers, the pruned teacher, and the cost of each network."""

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
from labs.core.cost import count_parameters, file_megabytes, latency_ms, parameters_by_layer
from labs.core.shards import ArrowDataset

RATIOS = (0.2, 0.4, 0.6, 0.8)
"""Fractions of the teacher's weights, or channels, that are pruned."""
TIMED = 16
"""Images of the batch whose forward pass is timed."""
CALIBRATION = 256
"""Training images that calibrate the ranges of int8 activations."""
PRUNING_COLUMNS = ("pruned", "ratio", "parameters", "megabytes", "milliseconds", "val_accuracy")
COST_COLUMNS = ("network", "parameters", "megabytes", "milliseconds", "val_accuracy")
Cost = tuple[int, float, float, float]
"""Parameters, megabytes, milliseconds per image, accuracy."""
Row = tuple[str, float, int, float, float, float]
"""Kind of pruning, ratio, and the cost of the pruned network."""


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
        teacher: in eval mode, on the CPU; images as they are stored to logits.
        student: in eval mode, on the CPU.
        training: images and labels, of which some images calibrate the quantisation.
        validation: images and labels.
        device: where accuracies are measured; latencies are measured on the CPU.
    """
    # The student, layer by layer.
    layers = parameters_by_layer(student)
    _write(out / "parameters.csv", ("layer", "kind", "parameters"), [*layers, ("total", "", count_parameters(student))])
    # The teacher, pruned in both ways at several ratios.
    rows: list[Row] = []
    unpruned = measure(teacher, validation, device)
    for kind, prune in {"weights, masked": prune_weights, "channels, removed": prune_channels}.items():
        rows.append((kind, 0.0, *unpruned))
        rows += [(kind, ratio, *measure(prune(teacher, ratio), validation, device)) for ratio in RATIOS]
    _write(out / "pruning.csv", PRUNING_COLUMNS, rows)
    plot(rows).savefig(out / "pruning.png", dpi=100, bbox_inches="tight")
    # The teacher, the student, and the student quantised to int8.
    quantized = deepcopy(student)
    images = training[torch.arange(min(CALIBRATION, len(training)))][0]
    quantized.net = quantize(student.net, student.normalise(images))
    costs = {
        "teacher, fp32": unpruned,
        "student, fp32": measure(student, validation, device),
        # int8 layers store packed weights, which are no parameters, and run on the CPU only.
        "student, int8": (count_parameters(student), *measure(quantized, validation, torch.device("cpu"))[1:]),
    }
    _write(out / "costs.csv", COST_COLUMNS, [(name, *cost) for name, cost in costs.items()])


def measure(model: nn.Module, validation: ArrowDataset, device: torch.device) -> Cost:
    """Parameters, megabytes, milliseconds per image on the CPU, and accuracy on the validation images."""
    images = validation[torch.arange(min(TIMED, len(validation)))][0]
    megabytes, milliseconds = file_megabytes(model), latency_ms(model, images)
    correct, model = 0, deepcopy(model).to(device)
    with torch.no_grad():
        for indices in torch.arange(len(validation)).split(256):
            images, labels = (tensor.to(device) for tensor in validation[indices])
            correct += int((model(images).argmax(1) == labels).sum())
    return count_parameters(model), megabytes, milliseconds, correct / len(validation)


def plot(rows: list[Row]) -> Figure:
    """Accuracy and latency against the fraction that is pruned."""
    figure = Figure(figsize=(11, 4.5))
    for axes, column in zip(figure.subplots(1, 2), ("val_accuracy", "milliseconds"), strict=True):
        for kind in dict.fromkeys(row[0] for row in rows):
            points = [(row[1], row[PRUNING_COLUMNS.index(column)]) for row in rows if row[0] == kind]
            axes.plot(*zip(*points, strict=True), "o-", label=kind)
        axes.set(xlabel="fraction of the teacher pruned", ylabel=column, ylim=(0, None))
        axes.legend()
    figure.suptitle("Masked weights are still stored and multiplied: only removed channels save memory and time")
    return figure


def _write(file: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with file.open("w", newline="") as handle:
        rounded = ([round(cell, 4) if isinstance(cell, float) else cell for cell in row] for row in rows)
        csv.writer(handle).writerows([header, *rounded])
