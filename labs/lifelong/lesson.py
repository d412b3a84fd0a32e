"""Homework 14, life-long learning: five rotated digit tasks, one after the other, without forgetting.

Task
    Classify handwritten digits turned by 0, then 20, 40, 60 and 80 degrees. While one task is learnt the images of the
    earlier ones are gone; the network (784-1024-512-256-10, ReLU) must not be changed. Two more scenarios, not the
    course's: the pixels shuffled, another way in each task; two new digits in each task, with one head for all ten.
Data
    `labs.lifelong.data`: MNIST, 60,000 training and 10,000 test images, or the 5,000 real digits that are embedded. Its
    format has the test labels in it; training leaves that split alone and validates on held-out training images.
Metric
    Accuracy in [0, 1], higher is better: the mean over the tasks seen so far. The course set no thresholds; its sample
    ended (one run, 60,000 images, 10 epochs a task) at .706 for the baseline, .717 EWC, .831 MAS, .720 SI, .784 RWalk,
    .772 SCP. Beside it forgetting, backward and forward transfer (`labs.lifelong.transfer`), on held-out images.
Methods
    baseline  plain fine-tuning, the course's sample with lambda 0: shows how much is forgotten.
    ewc mas si rwalk scp  springs hold weights that mattered to old tasks; they differ in how that is measured
              (`labs.lifelong.regularizers`). Only mas and scp need no labels. Their lambdas can't be compared.
    lwf       learning without forgetting: the network before the task labels the new task's images, softly.
    agem replay  keep some old images, to turn gradients that would harm them, or to train on them again
              (`labs.lifelong.rehearsal`): what the course's rule doesn't allow.
    joint     trains on all tasks so far, all images kept, and so longer with each: an upper bound.
Papers
    Kirkpatrick et al., EWC (arXiv:1612.00796); Schwarz et al., Progress & Compress, for the running sum of importances
    (arXiv:1805.06370); Aljundi et al., MAS (arXiv:1711.09601); Zenke et al., SI (arXiv:1703.04200); Chaudhry et al.,
    RWalk and forgetting (arXiv:1801.10112); Kolouri et al., SCP (ICLR 2020); Li & Hoiem, LwF (arXiv:1606.09282);
    Chaudhry et al., A-GEM (arXiv:1812.00420); Chaudhry et al., tiny episodic memories (arXiv:1902.10486).
"""

import csv
import re
import shutil
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from labs import COURSE
from labs.core import shards
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_weights
from labs.lifelong import data as digits
from labs.lifelong import transfer
from labs.lifelong.figures import MATRIX, accuracy_curve, matrix_picture, write_matrix
from labs.lifelong.regularizers import EWC, MAS, SCP, SI, Guard, RWalk
from labs.lifelong.rehearsal import AGEM, LwF, Memory, Replay
from labs.lifelong.scenarios import names, split, tasks, together

METRIC = COURSE["lifelong"].metric
ANGLES = [0.0, 20.0, 40.0, 60.0, 80.0]
"""The course's tasks, in degrees, counter-clockwise."""
HEADER = "task,angle,accuracy"
MEASURES = (transfer.forgetting, transfer.backward_transfer, transfer.forward_transfer)


class LifelongConfig(Config):
    scenario: Literal["rotated", "permuted", "class-incremental"] = "rotated"
    """What differs between tasks: the angle, as in the course; the order of the pixels; which two digits there are."""
    method: Literal["baseline", "ewc", "mas", "si", "rwalk", "scp", "lwf", "agem", "replay", "joint"] = "baseline"
    """What guards the old tasks."""
    strength: float = Field(0.0, ge=0)
    """Lambda, the weight of the penalty; its useful range differs by method. Only springs and lwf have one."""
    importance_batches: int = Field(1000, ge=1)
    """Mini-batches of a finished task, at most, that measure importances; for ewc, mas and scp."""
    damping: float = Field(0.1, gt=0)
    """Added to the squared distance that a path integral is divided by (epsilon), for si and rwalk."""
    fisher_update: float = Field(0.4, gt=0, le=1)
    """Share of the newest step in rwalk's running Fisher."""
    projections: int = Field(100, ge=1)
    """Random directions that scp looks at the outputs from."""
    memory_per_task: int = Field(40, ge=1)
    """Images of each finished task that agem and replay keep."""
    angles: tuple[float, ...] = Field(tuple(ANGLES), min_length=1)
    """Degrees by which each task turns the images, in the order of learning; only with `scenario=rotated`."""
    hidden: tuple[int, ...] = (1024, 512, 256)
    """Widths of the hidden layers."""
    lr: float = Field(1e-4, gt=0)
    """Adam's learning rate; Adam starts afresh with each task."""
    batch_size: int = Field(128, ge=1)
    """Images of a global batch; replay adds as many old ones."""
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


def build(config: LifelongConfig, net: nn.Module, count: int, run: Run) -> Guard:
    """The method, for `count` tasks; `net` has the same weights on all workers already."""
    memory = Memory(count, config.memory_per_task, digits.SIDE)
    methods = {
        "ewc": lambda: EWC(net, run, config.strength),
        "mas": lambda: MAS(net, run, config.strength),
        "si": lambda: SI(net, run, config.strength, config.damping),
        "rwalk": lambda: RWalk(net, run, config.strength, config.damping, config.fisher_update),
        "scp": lambda: SCP(net, run, config.strength, config.projections),
        "lwf": lambda: LwF(net, run, config.strength, digits.CLASSES),
        "agem": lambda: AGEM(run, memory, config.batch_size),
        "replay": lambda: Replay(run, memory),
    }
    return methods.get(config.method, lambda: Guard(run))().to(run.device)


def train(config: LifelongConfig, run: Run) -> None:
    data = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    images, labels = (column.all() for column in data.columns)
    held_out = split(len(images), config.validation, run.seed)
    training = tasks(config.scenario, config.angles, images[~held_out], labels[~held_out])
    validation = tasks(config.scenario, config.angles, images[held_out], labels[held_out])

    net = Classifier(config.hidden)
    model = run.wrap(net)
    method = build(config, net, len(training), run)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    progress: dict[str, Any] = {"matrix": []}
    state = {"model": model, "method": method, "optimizer": optimizer, "progress": progress}

    for epoch in run.epochs(len(training) * config.epochs_per_task, state):
        task, passes = divmod(epoch, config.epochs_per_task)
        matrix = progress["matrix"]
        if epoch == 0:
            matrix.append([evaluate(model, one, run) for one in validation])  # untrained: forward transfer's zero
        if passes == 0:
            optimizer.state.clear()  # as good as a new Adam, and still the object that checkpoints save
        method.draws.manual_seed(run.seed * 100_000 + epoch)
        images_now = together(training[: task + 1]) if config.method == "joint" else training[task]
        batches = run.loader(images_now, config.batch_size, train=True)
        sums, count = torch.zeros(2, device=run.device), 0
        for x, y in batches:
            x, y = method.mix(x, y)
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            penalty = method.penalty(net, x, logits)
            optimizer.zero_grad()
            (loss + penalty).backward()
            method.before_step(net)
            optimizer.step()
            method.after_step(net)
            sums += torch.stack([loss.detach(), penalty.detach()]) * len(x)
            count += len(x)
        now = [*matrix, [evaluate(model, one, run) for one in validation]]
        run.log({"train/loss": run.mean(sums[0], count), "train/penalty": run.mean(sums[1], count)})
        run.log({"val/accuracy": transfer.mean_accuracy(now)})
        run.log({f"val/accuracy_task{number}": value for number, value in enumerate(now[-1][: task + 1], 1)})
        if task > 0:
            run.log({f"val/{measure.__name__}": measure(now) for measure in MEASURES})
        if passes == config.epochs_per_task - 1:
            # Within the epoch, so that a checkpoint never lies between a task and what is remembered of it.
            method.after_task(net, training[task], islice(batches, config.importance_batches))
            matrix.append(now[-1])
            if run.rank == 0:
                write_matrix(run.file(MATRIX), matrix, names(config.scenario, config.angles))
        run.keep(model)


def evaluate(model: nn.Module, images: TensorDataset, run: Run) -> float:
    """Share of the images that are classified rightly, over all workers."""
    right, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        for x, y in run.loader(images, 1024):
            right += (net(x).argmax(1) == y).sum()
            count += len(x)
    return run.mean(right, count)


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
    """Write `acc_summary.png`, the curve, `task_accuracy.csv`, and the matrix of tasks as `.csv` and `.png`.

    `task_accuracy.csv`: tasks 1, 2, ... in the order of learning, with the angle in degrees (0 in the other scenarios)
    and the final model's accuracy on the task's test images, in [0, 1]. The matrix is of held-out training images.
    """
    model, config = load(folder), LAB.read_config(folder)
    images, labels = (c.all() for c in shards.ArrowDataset(data_dir, "test", ("image", "label")).columns)
    rows = []
    for number, task in enumerate(tasks(config.scenario, config.angles, images, labels)):
        x, y = (part.numpy() for part in task.tensors)
        angle = config.angles[number] if config.scenario == "rotated" else 0
        rows.append([number + 1, f"{angle:g}", f"{(predict(model, x).argmax(1) == y).mean():.6f}"])
    out.mkdir(parents=True, exist_ok=True)
    with (out / LAB.submission).open("w", newline="") as file:
        csv.writer(file).writerows([HEADER.split(","), *rows])
    shutil.copyfile(folder / MATRIX, out / MATRIX)
    curve = accuracy_curve(folder, names(config.scenario, config.angles))
    for name, figure in {"acc_summary": curve, "task_matrix": matrix_picture(folder / MATRIX)}.items():
        figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")


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
    return {  # the method is the preset's: lambdas can't be compared, so each method has a sweep of its own
        "strength": {"type": "loguniform", "low": 1e-2, "high": 1e7},
        "importance_batches": {"type": "choice", "values": [1, 10, 100, 1000], "when": {"method": "ewc"}},
        "damping": {"type": "loguniform", "low": 1e-4, "high": 1e0, "when": {"method": "si"}},
        "fisher_update": {"type": "loguniform", "low": 1e-3, "high": 1e0, "when": {"method": "rwalk"}},
        "projections": {"type": "choice", "values": [10, 100, 1000], "when": {"method": "scp"}},
        "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-2},
        "epochs_per_task": {"type": "randint", "low": 1, "high": 11},
        "angles": {"type": "choice", "values": [ANGLES, ANGLES[::-1], [0.0, 40.0, 80.0, 20.0, 60.0]]},
    }


LAB = Lab(
    heading=COURSE["lifelong"],
    config=LifelongConfig,
    # The sample's lambdas: twice as much for ewc and mas, whose importances it counts about twice, and 2 for scp, whose
    # it squares too late; rwalk's are scaled here, so that size small's lambda serves.
    presets={
        "baseline": {"method": "baseline"},
        "ewc": {"method": "ewc", "strength": 200.0},
        "mas": {"method": "mas", "strength": 0.2},
        "si": {"method": "si", "strength": 1.0},
        "rwalk": {"method": "rwalk", "strength": 30.0},
        "scp": {"method": "scp", "strength": 2.0},
        "lwf": {"method": "lwf", "strength": 1.0},
        "agem": {"method": "agem"},
        "replay": {"method": "replay"},
        "joint": {"method": "joint"},
    },
    sizes={
        "tiny": {"hidden": (64, 32), "batch_size": 32, "epochs_per_task": 2, "memory_per_task": 10, "lr": 1e-3},
        "small": {"epochs_per_task": 4, "lr": 1e-3},
        "course": {},
    },
    tuned={
        ("ewc", "small"): {"strength": 1.5e5},
        ("mas", "small"): {"strength": 0.4},
        ("si", "small"): {"strength": 1e3},
        ("scp", "small"): {"strength": 1e3, "importance_batches": 8},
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
