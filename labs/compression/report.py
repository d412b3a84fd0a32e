"""The report of homework 13: the student's layers, the pruned teacher, and the cost of each network."""

from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from labs.compression.config import LIMIT
from labs.compression.figures import Row, plot
from labs.compression.pruning import prune_channels, prune_weights
from labs.compression.quantization import quantize
from labs.compression.student import Student
from labs.core.cost import count_parameters, file_megabytes, latency_ms, parameters_by_layer
from labs.core.lab import Lab
from labs.core.report import Report
from labs.core.shards import ArrowDataset

RATIOS = (0.2, 0.4, 0.6, 0.8)
"""Fractions of the teacher's weights, or channels, that are pruned."""
TIMED = 16
"""Images of the batch whose forward pass is timed."""
CALIBRATION = 256
"""Training images that calibrate the ranges of int8 activations."""
COST_COLUMNS = ("parameters", "megabytes", "milliseconds", "val_accuracy")
Cost = tuple[int, float, float, float]
"""Parameters, megabytes, milliseconds per image, accuracy."""


def write(
    lab: Lab,
    folder: Path,
    out: Path,
    teacher: nn.Module,
    student: Student,
    training: ArrowDataset,
    validation: ArrowDataset,
    device: torch.device,
) -> None:
    """Write the report of a run's folder, and its tables as `parameters.csv`, `pruning.csv` and `costs.csv`.

    Args:
        teacher: in eval mode, on the CPU; images as they are stored to logits.
        student: in eval mode, on the CPU.
        training: images and labels, of which some images calibrate the quantisation.
        validation: images and labels.
        device: where accuracies are measured; latencies are measured on the CPU.
    """
    config, report = lab.read_config(folder), Report(lab, folder, out)

    report.question("a")
    layers = parameters_by_layer(student)
    rows = [*layers, ("total", "", count_parameters(student))]
    report.table(("layer", "kind", "parameters"), rows, file="parameters.csv")
    if config.assistant:
        report.text(f"""This student is a teaching assistant, the teacher of another run. It is not to be handed in: the
                    course allows {LIMIT:,} parameters.""")

    report.question("b")
    report.text(f"""`L = alpha T^2 KL(softmax(z_teacher / T), softmax(z_student / T)) + (1 - alpha) CE(y, z_student)`,
                in this run with alpha {config.alpha:g} and T {config.temperature:g} (`distillation_loss` of the
                lesson). A higher temperature makes the teacher's distribution softer, so that the student also learns
                which wrong classes resemble the right one; the gradients of the first term then shrink as 1 / T^2,
                hence the factor.""")

    report.question("c")
    unpruned = measure(teacher, validation, device)
    pruned: list[Row] = []
    for kind, prune in {"weights, masked": prune_weights, "channels, removed": prune_channels}.items():
        pruned.append((kind, 0.0, *unpruned))
        pruned += [(kind, ratio, *measure(prune(teacher, ratio), validation, device)) for ratio in RATIOS]
    report.figure("pruning", plot(pruned), "The pruned teacher.")
    report.table(("pruned", "ratio", *COST_COLUMNS), pruned, file="pruning.csv")
    report.text("""Pruning by masks, as in torch's tutorial, does not speed up inference: the zeros are stored and
                multiplied like other numbers. Removed channels make the matrices smaller.""")
    report.text("For comparison, the student, and the student quantised to int8:")
    costs = {"teacher, fp32": unpruned, **_student_costs(student, training, validation, device)}
    report.table(("network", *COST_COLUMNS), ((name, *cost) for name, cost in costs.items()), file="costs.csv")
    report.write()


def _student_costs(
    student: Student, training: ArrowDataset, validation: ArrowDataset, device: torch.device
) -> dict[str, Cost]:
    """The costs of the student, and of the student in int8."""
    quantized = deepcopy(student)
    images = training[torch.arange(min(CALIBRATION, len(training)))][0]
    quantized.net = quantize(student.net, student.normalise(images))
    return {
        "student, fp32": measure(student, validation, device),
        # int8 layers store packed weights, which are no parameters, and run on the CPU only.
        "student, int8": (count_parameters(student), *measure(quantized, validation, torch.device("cpu"))[1:]),
    }


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
