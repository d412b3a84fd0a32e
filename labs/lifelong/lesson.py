"""Homework 14, life-long learning: five tasks of rotated digits, one after the other, without forgetting.

Task
    Classify handwritten digits that are rotated by 0, then 20, 40, 60 and 80 degrees. While one task is learnt, the
    images of the earlier ones are not available; the network (784-1024-512-256-10, ReLU) is fixed. Two further
    scenarios are not the course's: `permuted`, in which each task has its own permutation of the pixels, and
    `class-incremental`, in which each task has two new digits and all tasks use the same ten outputs.
Data
    `labs.lifelong.data`: MNIST, 60,000 training and 10,000 test images, or the 5,000 real digits that are embedded. The
    format includes the test labels; training does not read that split and validates on held-out training images.
Metric
    Accuracy in [0, 1], higher is better: the mean over the tasks seen so far. The course set no thresholds; its sample
    ended (one run, 60,000 images, 10 epochs a task) at .706 with the baseline, .717 EWC, .831 MAS, .720 SI, .784 RWalk,
    .772 SCP. Also reported, on held-out images: forgetting, backward and forward transfer (`labs.lifelong.transfer`).
Methods
    baseline  fine-tuning on each task, the course's sample with lambda 0: shows how much is forgotten.
    ewc mas si rwalk scp  a quadratic penalty on changes of the parameters that are important for the old tasks; they
              differ in the measure of importance (`labs.lifelong.regularizers`), so their lambdas are not comparable.
              Only mas and scp need no labels.
    lwf       learning without forgetting: the network before the task is a teacher on the new task's images
              (`labs.lifelong.distillation`).
    agem replay  keep some old images, to project gradients that would raise the loss on them, or to train on them again
              (`labs.lifelong.rehearsal`); the course's rules do not allow it.
    joint     trains on all images of all tasks so far, and therefore longer with each task: an upper bound.
Report
    (a)  How does the accuracy of each method develop while the five tasks are learnt?
    (b)  What does the metric measure, and how much is forgotten?
    (c)  How does MAS measure the importance of a parameter, and how do the other methods?
    The course also asks 20 multiple-choice questions about these methods and the scenarios of continual learning; these
    are ours on the same subjects.
    (d)  Which methods can measure importances on images without labels: EWC, MAS, SI, RWalk, SCP?
    (e)  Which scenario do this run's tasks make: task-incremental, domain-incremental or class-incremental?
    (f)  Which of LwF, iCaRL, GEM and DGR keep images of the old tasks?
Papers
    Kirkpatrick et al., EWC (arXiv:1612.00796); Schwarz et al., Progress & Compress, for the running sum of importances
    (arXiv:1805.06370); Aljundi et al., MAS (arXiv:1711.09601); Zenke et al., SI (arXiv:1703.04200); Chaudhry et al.,
    RWalk and forgetting (arXiv:1801.10112); Kolouri et al., SCP (ICLR 2020); Li & Hoiem, LwF (arXiv:1606.09282);
    Chaudhry et al., A-GEM (arXiv:1812.00420); Chaudhry et al., tiny episodic memories (arXiv:1902.10486).
"""

from itertools import islice
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
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import load_weights
from labs.lifelong import data, report, task_table, transfer
from labs.lifelong.demo import DEMO
from labs.lifelong.distillation import LwF
from labs.lifelong.figures import MATRIX, write_matrix
from labs.lifelong.method import Method
from labs.lifelong.networks import Classifier
from labs.lifelong.regularizers import EWC, MAS, SCP, SI, RWalk
from labs.lifelong.rehearsal import AGEM, EpisodicMemory, Replay
from labs.lifelong.scenarios import concatenated, held_out_mask, make_tasks, task_names
from labs.lifelong.task_table import ANGLES

METRIC = COURSE["lifelong"].metric


class LifelongConfig(Config):
    scenario: Literal["rotated", "permuted", "class-incremental"] = "rotated"
    """How the tasks differ: in the rotation, as in the course; in the order of the pixels; in the digits they have."""
    method: Literal["baseline", "ewc", "mas", "si", "rwalk", "scp", "lwf", "agem", "replay", "joint"] = "baseline"
    """Method against forgetting; `baseline` is none."""
    strength: float = Field(0.0, ge=0)
    """Lambda, the weight of the penalty; useful values differ by method. Only with the regularizers and lwf."""
    importance_batches: int = Field(1000, ge=1)
    """Mini-batches of a finished task, at most, on which importances are computed; only with ewc, mas and scp."""
    damping: float = Field(0.1, gt=0)
    """Damping of the path integral's denominator, xi in si (a squared distance), epsilon in rwalk; only with these."""
    fisher_update: float = Field(0.4, gt=0, le=1)
    """Alpha, the weight of the newest step in the running Fisher; only with rwalk."""
    projections: int = Field(100, ge=1)
    """Number of random directions on which the outputs are projected; only with scp."""
    memory_per_task: int = Field(40, ge=1)
    """Images of each finished task that are kept; only with agem and replay."""
    angles: tuple[float, ...] = Field(tuple(ANGLES), min_length=1)
    """Rotation of each task's images in degrees, in the order of learning; only with `scenario=rotated`."""
    hidden: tuple[int, ...] = (1024, 512, 256)
    """Widths of the hidden layers."""
    lr: float = Field(1e-4, gt=0)
    """Adam's learning rate; Adam's moments are reset at each task."""
    batch_size: int = Field(128, ge=1)
    """Images of a global batch; replay adds as many old ones."""
    epochs_per_task: int = Field(10, ge=1)
    """Passes over the images of a task."""
    validation: float = Field(0.1, gt=0, lt=1)
    """Fraction of the training images held out, for validation after each epoch and the choice of settings."""


def build(config: LifelongConfig, net: nn.Module, count: int, run: Run) -> Method:
    """The method, for `count` tasks; `net` has the same parameters on all workers already."""
    memory = EpisodicMemory(count, config.memory_per_task, data.SIDE)
    method: Method
    match config.method:
        case "ewc":
            method = EWC(net, run, config.strength)
        case "mas":
            method = MAS(net, run, config.strength)
        case "si":
            method = SI(net, run, config.strength, config.damping)
        case "rwalk":
            method = RWalk(net, run, config.strength, config.damping, config.fisher_update)
        case "scp":
            method = SCP(net, run, config.strength, config.projections)
        case "lwf":
            method = LwF(net, run, config.strength, data.CLASSES)
        case "agem":
            method = AGEM(run, memory, config.batch_size)
        case "replay":
            method = Replay(run, memory)
        case _:
            method = Method(run)
    return method.to(run.device)


def train(config: LifelongConfig, run: Run) -> None:
    dataset = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    images, labels = (column.all() for column in dataset.columns)
    held_out = held_out_mask(len(images), config.validation, run.seed)
    training = make_tasks(config.scenario, config.angles, images[~held_out], labels[~held_out])
    validation = make_tasks(config.scenario, config.angles, images[held_out], labels[held_out])

    net = Classifier(config.hidden)
    model = run.wrap(net)
    method = build(config, net, len(training), run)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    progress: dict[str, Any] = {"matrix": []}
    state = {"model": model, "method": method, "optimizer": optimizer, "progress": progress}

    for epoch in run.epochs(len(training) * config.epochs_per_task, state):
        # Begin: the untrained network's accuracies for forward transfer, and at each task a new Adam, which must remain
        # the object that checkpoints save.
        task, epoch_of_task = divmod(epoch, config.epochs_per_task)
        matrix = progress["matrix"]
        if epoch == 0:
            matrix.append([evaluate(model, each, run) for each in validation])
        if epoch_of_task == 0:
            optimizer.state.clear()
        method.generator.manual_seed(run.seed * 100_000 + epoch)
        available = concatenated(training[: task + 1]) if config.method == "joint" else training[task]
        batches = run.loader(available, config.batch_size, train=True)

        losses, penalties = Meter(), Meter()
        for x, y in batches:
            # A batch of the present task (replay adds old images), and L = CE(f(x), y) + penalty.
            x, y = method.extend_batch(x, y)
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            penalty = method.penalty(net, x, logits)
            optimizer.zero_grad()
            run.backward(loss + penalty)
            run.unscale(optimizer)
            # The step. A-GEM projects the gradient before it; SI and RWalk read gradient and parameters around it.
            method.before_step(net)
            if run.step(optimizer):
                method.after_step(net)
            losses.add(loss, len(x))
            penalties.add(penalty, len(x))

        # Evaluate on all tasks, those still to come included.
        present = [*matrix, [evaluate(model, each, run) for each in validation]]
        run.log({"train/loss": run.mean(losses.sum, losses.count)})
        run.log({"train/penalty": run.mean(penalties.sum, penalties.count)})
        run.log({"val/accuracy": transfer.mean_accuracy(present)})
        run.log({f"val/accuracy_task{number}": value for number, value in enumerate(present[-1][: task + 1], 1)})
        if task > 0:
            run.log({f"val/{name}": measure(present) for name, measure in transfer.MEASURES.items()})

        # After a task's last epoch, remember it. Still within the epoch, so that no checkpoint lies in between.
        if epoch_of_task == config.epochs_per_task - 1:
            method.after_task(net, training[task], islice(batches, config.importance_batches))
            matrix.append(present[-1])
            if run.rank == 0:
                write_matrix(run.file(MATRIX), matrix, task_names(config.scenario, config.angles))
        run.keep(model)


def evaluate(model: nn.Module, images: TensorDataset, run: Run) -> float:
    """Accuracy in [0, 1] over all workers' images."""
    correct: list[torch.Tensor] = []
    with run.evaluation(model) as net:
        for x, y in run.loader(images, 1024):
            correct.append(net(x).argmax(1) == y)
    return run.mean(sum(batch.sum() for batch in correct), sum(len(batch) for batch in correct))


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
    """Write `task_accuracy.csv` (`labs.lifelong.task_table`), the report with the accuracy curve `acc_summary.png`, and
    the matrix of accuracies on held-out training images, `task_matrix.csv` and `.png`."""
    model, config = load(folder), LAB.read_config(folder)
    images, labels = (c.all() for c in shards.ArrowDataset(data_dir, "test", ("image", "label")).columns)
    accuracies = []
    for task in make_tasks(config.scenario, config.angles, images, labels):
        x, y = (tensor.numpy() for tensor in task.tensors)
        accuracies.append((predict(model, x).argmax(1) == y).mean())
    out.mkdir(parents=True, exist_ok=True)
    angles = config.angles if config.scenario == "rotated" else [0.0] * len(accuracies)
    task_table.write(out / LAB.submission, angles, accuracies)
    report.write(LAB, config, folder, out)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    accuracies = task_table.read(delivered / LAB.submission)
    train, test = (shards.ArrowDataset(data_dir, split, ("label",)).columns[0].all() for split in data.SPLITS)
    trivial = (test == train.mode().values).double().mean().item()
    return {"test/accuracy": sum(accuracies) / len(accuracies), "test/trivial": trivial}


def space() -> dict[str, dict[str, object]]:
    # Each method has a sweep of its own, because lambdas are not comparable; the preset chooses it. Without the angles:
    # other tasks, or another order of them, make another problem, not a better solution.
    return {
        "strength": {"type": "loguniform", "low": 1e-2, "high": 1e7},
        "importance_batches": {"type": "choice", "values": [1, 10, 100, 1000], "when": {"method": "ewc"}},
        "damping": {"type": "loguniform", "low": 1e-4, "high": 1e0, "when": {"method": "si"}},
        "fisher_update": {"type": "loguniform", "low": 1e-3, "high": 1e0, "when": {"method": "rwalk"}},
        "projections": {"type": "choice", "values": [10, 100, 1000], "when": {"method": "scp"}},
        "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-2},
        "epochs_per_task": {"type": "randint", "low": 1, "high": 11},
    }


LAB = Lab(
    heading=COURSE["lifelong"],
    config=LifelongConfig,
    # The sample's lambdas with three exceptions. It adds the importances of ewc and mas about twice, so these have
    # twice its lambda; it squares scp's gradients after the mean, a hundredth of ours, so scp has 2; its importances of
    # rwalk are not scaled to [0, 1], so rwalk has the lambda that was tuned for size small.
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
    demo=DEMO,
    deliver=deliver,
    check_submission=task_table.check,
    score=score,
    submission="task_accuracy.csv",
    space=space,
    network=lambda config: Classifier(config.hidden),
    data=data,
    seconds={"tiny": 2, "small": 20, "course": 600},
)
