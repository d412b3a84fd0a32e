"""Homework 14, life-long learning: five rotated digit tasks, one after the other, without forgetting.

Task
    Classify handwritten digits turned by 0, then 20, 40, 60 and 80 degrees. While one task is learnt the images of the
    earlier ones are gone; the network (784-1024-512-256-10, ReLU) must not be changed.
Data
    `labs.data.digits`: MNIST, 60,000 training and 10,000 test images, or the 5,000 real digits that are embedded. Its
    format has the test labels in it; training leaves that split alone and validates on held-out training images.
Metric
    Accuracy in [0, 1], higher is better: the mean over the tasks seen so far. The course set no thresholds; its sample
    ended (one run, 60,000 images, 10 epochs a task) at 0.706 for the baseline and at 0.717 for EWC.
Methods
    baseline  plain fine-tuning, the course's sample with lambda 0: shows how much is forgotten.
    ewc       elastic weight consolidation: weights that mattered to old tasks are held back by springs.
    All tasks learnt at once, as one shuffled set, reach 0.93 at size `small` on the embedded digits.
Papers
    Kirkpatrick et al., EWC (arXiv:1612.00796); Schwarz et al., Progress & Compress, for the running sum of importances
    (arXiv:1805.06370); Chaudhry et al., for the measure of forgetting (arXiv:1801.10112).
"""

import csv
import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset
from torchvision.transforms.v2 import functional as images_of

from labs.data import digits, shards
from labs.figures.lifelong import accuracy_curve
from labs.lab import Config, Lab, Metric
from labs.run import Run
from labs.weights import load_weights

METRIC = Metric("accuracy", "max")
ANGLES = [0.0, 20.0, 40.0, 60.0, 80.0]
"""The course's tasks, in degrees, counter-clockwise."""
HEADER = "task,angle,accuracy"


class LifelongConfig(Config):
    method: Literal["baseline", "ewc"] = "baseline"
    """What guards the old tasks: nothing, or elastic weight consolidation."""
    strength: float = Field(0.0, ge=0)
    """Lambda, the weight of the penalty; its useful range differs by method. No effect with `method=baseline`."""
    importance_batches: int = Field(1000, ge=1)
    """Mini-batches of a finished task, at most, that measure importances. No effect with `method=baseline`."""
    angles: tuple[float, ...] = Field(tuple(ANGLES), min_length=1)
    """Degrees by which each task turns the images, in the order of learning; the course has 0, 20, 40, 60, 80."""
    hidden: tuple[int, ...] = (1024, 512, 256)
    """Widths of the hidden layers."""
    lr: float = Field(1e-4, gt=0)
    """Adam's learning rate; Adam starts afresh with each task."""
    batch_size: int = Field(128, ge=1)
    """Images of a global batch."""
    epochs_per_task: int = Field(10, ge=1)
    """Passes over the images of a task before the next one comes."""
    validation: float = Field(0.1, gt=0, lt=1)
    """Share of the training images held out for the curve over the epochs and for choosing settings."""


class Classifier(nn.Module):
    """MLP. Input (B, 28, 28) uint8, output (B, 10) logits."""

    def __init__(self, hidden: tuple[int, ...]) -> None:
        super().__init__()
        widths = [digits.SIDE**2, *hidden]
        layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], digits.CLASSES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(images.flatten(1) / 255)
        return logits


class Baseline(nn.Module):
    """No guard at all, and the interface of those that are one; what a method remembers is in its `state_dict`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()

    def penalty(self, net: nn.Module) -> torch.Tensor:
        """What to add to the loss, before lambda; scalar."""
        return next(net.parameters()).new_zeros(())

    def after_task(self, net: nn.Module, batches: Iterable, sync: Callable[[nn.Module], None]) -> None:
        """Remember a task just learnt, from this worker's share of its training images and labels.

        `net` is the bare module, not DDP's wrapper; `sync` averages a module's gradients over the workers.
        """


class EWC(Baseline):
    """A spring on each weight, as stiff as the weight was important: sum of importance x (theta - theta*)^2.

    Importance is an empirical Fisher diagonal as the course has it: a mini-batch's gradient of the mean negative
    log-likelihood at the true labels, squared, averaged over mini-batches. Lambda depends on the batch size.

    One sum of importances around the newest weights is kept, not a spring per task: memory is two networks' however
    many tasks come. Each task goes into the sum once; the course's sample adds the earlier sums again at each task.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        # Copies of the network hold one number for each weight, under the weight's own name.
        self.anchor = deepcopy(net).requires_grad_(False)
        self.importance = deepcopy(net).requires_grad_(False)
        for importance in self.importance.parameters():
            importance.zero_()

    def penalty(self, net: nn.Module) -> torch.Tensor:
        triples = zip(self.importance.parameters(), net.parameters(), self.anchor.parameters(), strict=True)
        return torch.stack([(weight * (now - then) ** 2).sum() for weight, now, then in triples]).sum()

    def after_task(self, net: nn.Module, batches: Iterable, sync: Callable[[nn.Module], None]) -> None:
        squares, count = [torch.zeros_like(p) for p in net.parameters()], 0
        for x, y in batches:
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
            sync(net)  # before squaring: the gradient of the global batch, whatever the number of workers
            for square, parameter in zip(squares, net.parameters(), strict=True):
                if parameter.grad is not None:
                    square += parameter.grad**2
            count += 1
        for importance, square in zip(self.importance.parameters(), squares, strict=True):
            importance.add_(square / count)
        self.anchor.load_state_dict(net.state_dict())


METHODS: dict[str, type[Baseline]] = {"baseline": Baseline, "ewc": EWC}


def train(config: LifelongConfig, run: Run) -> None:
    data = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    images, labels = (column.all() for column in data.columns)
    held_out = split(len(images), config.validation, run.seed)
    training = [TensorDataset(rotate(images[~held_out], angle), labels[~held_out]) for angle in config.angles]
    validation = [TensorDataset(rotate(images[held_out], angle), labels[held_out]) for angle in config.angles]

    net = Classifier(config.hidden)
    method = METHODS[config.method](net).to(run.device)
    model = run.wrap(net)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    progress: dict[str, Any] = {"matrix": []}
    state = {"model": model, "method": method, "optimizer": optimizer, "progress": progress}

    for epoch in run.epochs(len(config.angles) * config.epochs_per_task, state):
        task, passes = divmod(epoch, config.epochs_per_task)
        if passes == 0:
            optimizer.state.clear()  # as good as a new Adam, and still the object that checkpoints save
        batches = run.loader(training[task], config.batch_size, train=True)
        sums, count = torch.zeros(2, device=run.device), 0
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            penalty = config.strength * method.penalty(net)
            optimizer.zero_grad()
            (loss + penalty).backward()
            optimizer.step()
            sums += torch.stack([loss.detach(), penalty.detach()]) * len(x)
            count += len(x)
        accuracies = [evaluate(model, seen, run) for seen in validation[: task + 1]]
        run.log({"train/loss": run.mean(sums[0], count), "train/penalty": run.mean(sums[1], count)})
        run.log({"val/accuracy": sum(accuracies) / len(accuracies)})
        run.log({f"val/accuracy_task{number}": value for number, value in enumerate(accuracies, 1)})
        if task > 0:
            run.log({"val/forgetting": forgetting(progress["matrix"], accuracies)})
        if passes == config.epochs_per_task - 1:
            # Within the epoch, so that a checkpoint never lies between a task and what is remembered of it.
            method.after_task(net, islice(batches, config.importance_batches), run.sync_gradients)
            progress["matrix"].append(accuracies)
        run.keep(model)


def evaluate(model: nn.Module, images: TensorDataset, run: Run) -> float:
    """Share of the images that are classified rightly, over all workers."""
    right, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        for x, y in run.loader(images, 1024):
            right += (net(x).argmax(1) == y).sum()
            count += len(x)
    return run.mean(right, count)


def forgetting(matrix: list[list[float]], now: list[float]) -> float:
    """How much accuracy the earlier tasks lost since they were known best, on average.

    `now` has the accuracies on the tasks seen, row i of `matrix` those on tasks 0..i right after task i was learnt.
    """
    best = [max(row[task] for row in matrix[task:]) for task in range(len(now) - 1)]
    return sum(then - value for then, value in zip(best, now[:-1], strict=True)) / len(best)


def split(count: int, share: float, seed: int) -> torch.Tensor:
    """Mask of the images held out, (count,): the same images in every task, so that none is trained on turned."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order < max(1, round(count * share))


def rotate(images: torch.Tensor, angle: float) -> torch.Tensor:
    """Images (N, 28, 28) uint8 turned counter-clockwise; by nearest neighbour, so exactly as the course's floats."""
    return torch.cat([images_of.rotate(part, angle) for part in images.split(digits.CHUNK)])


def load(folder: Path) -> Classifier:
    return load_weights(folder, Classifier(LAB.read_config(folder).hidden))


def predict(model: Classifier, inputs: np.ndarray) -> np.ndarray:
    """(B, 28, 28) uint8 -> (B, 10) probabilities."""
    with torch.no_grad():
        probabilities: np.ndarray = model(torch.from_numpy(inputs)).softmax(1).numpy()
    return probabilities


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(3)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `acc_summary.png`, the curve, and `task_accuracy.csv`: `task,angle,accuracy`.

    Rows are tasks 1, 2, ... in the order of learning, with the angle in degrees and the final model's accuracy on the
    test images turned by it, in [0, 1].
    """
    model, angles = load(folder), LAB.read_config(folder).angles
    images, labels = (c.all() for c in shards.ArrowDataset(data_dir, "test", ("image", "label")).columns)
    out.mkdir(parents=True, exist_ok=True)
    with (out / LAB.submission).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER.split(","))
        for task, angle in enumerate(angles, 1):
            guess = predict(model, rotate(images, angle).numpy()).argmax(1)
            writer.writerow([task, f"{angle:g}", f"{(guess == labels.numpy()).mean():.6f}"])
    accuracy_curve(folder, angles).savefig(out / "acc_summary.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    lines, angles = file.read_text().splitlines(), []
    if lines[:1] != [HEADER]:
        return [f"{file.name} line 1: the header must be {HEADER!r}"]
    for number, line in enumerate(lines[1:], 1):
        row = re.fullmatch(rf"{number},(-?\d+(?:\.\d+)?),(?:0(?:\.\d+)?|1(?:\.0+)?)", line)
        if row is None:
            return [f"{file.name} line {number + 1}: expected '{number},<degrees>,<share from 0 to 1>', found {line!r}"]
        angles.append(float(row[1]))
    return [] if sorted(angles) == ANGLES else [f"{file.name}: expected the angles {ANGLES}, found {sorted(angles)}"]


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    with (delivered / LAB.submission).open(newline="") as file:
        accuracies = [float(row["accuracy"]) for row in csv.DictReader(file)]
    train, test = (shards.ArrowDataset(data_dir, split, ("label",)).columns[0].all() for split in digits.SPLITS)
    trivial = (test == train.mode().values).double().mean().item()
    return {"test/accuracy": sum(accuracies) / len(accuracies), "test/trivial": trivial}


def space() -> dict[str, dict[str, object]]:
    return {
        "method": {"type": "choice", "values": ["baseline", "ewc"]},
        "strength": {"type": "loguniform", "low": 1e0, "high": 1e8, "when": {"method": "ewc"}},
        "importance_batches": {"type": "choice", "values": [1, 10, 100, 1000], "when": {"method": "ewc"}},
        "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-2},
        "epochs_per_task": {"type": "randint", "low": 1, "high": 11},
        "angles": {"type": "choice", "values": [ANGLES, ANGLES[::-1], [0.0, 40.0, 80.0, 20.0, 60.0]]},
    }


LAB = Lab(
    name="lifelong",
    number=14,
    title="Rotated digits in sequence",
    metric=METRIC,
    config=LifelongConfig,
    presets={"baseline": {"method": "baseline"}, "ewc": {"method": "ewc", "strength": 100.0}},
    sizes={
        "tiny": {"hidden": (64, 32), "batch_size": 32, "epochs_per_task": 2},
        "small": {"epochs_per_task": 4},
        "course": {},
    },
    tuned={
        **{(preset, size): {"lr": 1e-3} for preset in ("baseline", "ewc") for size in ("tiny", "small")},
        ("ewc", "small"): {"lr": 1e-3, "strength": 3e5},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="task_accuracy.csv",
    space=space,
    network=lambda config: Classifier(config.hidden),
    data=digits,
    seconds={"tiny": 2, "small": 20, "course": 600},
)
