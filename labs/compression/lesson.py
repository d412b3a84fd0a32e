"""Homework 13, network compression: eleven kinds of food from a picture, with at most 100,000 parameters.

Task
    Train a small network, the student, with the help of a large one, the teacher: a run of the cnn lab. Everything that
    the student keeps counts, ensembles and frozen layers included. The teacher may not label test pictures.
Data
    `labs.compression.data`: Food-11 as in homework 3, the test set renumbered.
Metric
    Accuracy, higher is better, a share of the test pictures. Course's public thresholds, second-hand: simple 0.44820,
    medium 0.64840, strong 0.82370, boss 0.85159.
Ladder
    simple   the course's sample: four convolutions with batch normalisation, cross-entropy, pictures mirrored at
             random. Its teacher is only pruned and measured, for the report.
    medium   knowledge distillation: the student also learns the teacher's softened predictions; trained for longer.
    strong   depthwise-separable convolutions, so that the same budget of parameters goes wider and deeper; random
             crops, turns and colours, which the teacher labels as well; AdamW with a rising and falling rate.
    boss     feature distillation: a translation of the student's last feature map shall also give the teacher's. At
             size small it trains for longer as well, at equal length hints made no difference beyond the noise.
Papers
    Hinton et al., Knowledge Distillation (arXiv:1503.02531); Howard et al., MobileNets (arXiv:1704.04861); Romero et
    al., FitNets (arXiv:1412.6550); Li et al., Pruning Filters for Efficient ConvNets (arXiv:1608.08710).
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from labs import COURSE
from labs.cnn import lesson as cnn
from labs.compression import data
from labs.compression.figures import write_report
from labs.compression.hints import Hint
from labs.compression.student import PlainStudent, SeparableNet, Student
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.cost import parameters
from labs.core.errors import BadInput
from labs.core.heading import Metric
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import SHAPE, WEIGHTS, load_shape, load_weights, unwrap
from labs.shared.vision.augmentation import augment

METRIC = COURSE["compression"].metric
LIMIT = 100_000
"""Parameters that the course allows, at every size."""
TEACHER = "teacher"
"""Role of the run that is needed, and the folder with a copy of it: the report is about the teacher as well."""


class CompressionConfig(Config):
    network: Literal["plain", "separable"] = "plain"
    """The sample's four convolutions, or stages of depthwise-separable ones."""
    width: int = Field(32, ge=4)
    """Channels of the first layer; the later ones grow with it."""
    blocks: int = Field(2, ge=1)
    """Blocks of each of the four stages; no effect with `network=plain`."""
    image_size: int = Field(224, ge=32)
    """Pixels of a side that the student sees."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of the random changes to training pictures: 0 for mirroring only, 1 for the usual ones."""
    alpha: float = Field(0.0, ge=0, le=1)
    """Share of the loss that follows the teacher's predictions; the rest follows the labels."""
    temperature: float = Field(1.0, gt=0)
    """What the logits of both are divided by before they are compared; no effect with `alpha=0`."""
    hint: float = Field(0.0, ge=0)
    """Weight of the loss between the last feature maps, the student's translated and the teacher's; 0 for none."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam with L2 penalty, as in the sample, or AdamW with decoupled weight decay."""
    lr: float = Field(3e-4, gt=0)
    """Learning rate; with `schedule=cosine` its highest value."""
    weight_decay: float = Field(1e-5, ge=0)
    """Weight decay."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the training: constant, or linearly up for a tenth of it, then down to 0 on a cosine."""
    clip: float = Field(10.0, gt=0)
    """Largest norm of the gradient."""
    batch_size: int = Field(64, ge=1)
    """Pictures of a global batch."""
    epochs: int = Field(10, ge=1)
    """Passes over the training pictures."""

    @model_validator(mode="after")
    def _small(self) -> "CompressionConfig":
        with torch.device("meta"):
            build(self, len(data.CLASSES))
        return self


def build(config: CompressionConfig, classes: int) -> Student:
    """The student.

    Raises:
        BadInput: it has more parameters than the course allows.
    """
    plain = config.network == "plain"
    net = PlainStudent(config.width, classes) if plain else SeparableNet(config.width, config.blocks, classes)
    if parameters(net) > LIMIT:
        raise BadInput(f"the student has {parameters(net):,} parameters where the course allows {LIMIT:,}; "
                       "a smaller width has fewer")  # fmt: skip
    return Student(net, config.image_size)


def distillation(
    logits: torch.Tensor, predictions: torch.Tensor, labels: torch.Tensor, alpha: float, t: float
) -> torch.Tensor:
    """alpha t^2 KL(teacher || student) at temperature t, a mean over the batch, + (1 - alpha) cross-entropy.

    Student's and teacher's logits (B, classes), labels (B,). The gradients of the first part fall with t^2; the factor
    keeps the parts' balance whatever the temperature.
    """
    soft = F.kl_div(
        (logits / t).log_softmax(1), (predictions / t).log_softmax(1), reduction="batchmean", log_target=True
    )
    return alpha * t**2 * soft + (1 - alpha) * F.cross_entropy(logits, labels)


def train(config: CompressionConfig, run: Run) -> None:
    training = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    validation = shards.ArrowDataset(run.data_dir, "validation", ("image", "label"))
    classes = len(shards.manifest(run.data_dir)["facts"]["classes"])
    run.write_shape(classes=classes)
    model = run.wrap(build(config, classes).to(memory_format=torch.channels_last))
    teacher = take_teacher(run, classes)
    hint = Hint(unwrap(model), teacher, torch.zeros(1, 3, config.image_size, config.image_size, device=run.device))
    for weight in hint.parameters():  # `run.wrap` would have spread rank 0's
        weight.data = run.average(weight.data)
    weights = [*model.parameters(), *hint.parameters()]
    make_optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = make_optimizer(weights, lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "hint": hint, "optimizer": optimizer}):
        loss_sum, count = torch.zeros((), device=run.device), 0
        for step, (images, labels) in enumerate(batches):
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, config.lr * (warmup_cosine(done) if config.schedule == "cosine" else 1.0))
            images = vary(images, config)
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            if config.alpha or config.hint:
                loss = distillation(logits, teacher(images), labels, config.alpha, config.temperature)
            if config.hint:
                loss = loss + config.hint * hint.loss()
            optimizer.zero_grad()
            loss.backward()
            if config.hint:
                run.sync_gradients(hint)  # it stands beside what `run.wrap` knows
            nn.utils.clip_grad_norm_(weights, config.clip)
            optimizer.step()
            loss_sum += loss.detach() * len(images)
            count += len(images)
        run.log({"train/loss": run.mean(loss_sum, count), "val/accuracy": evaluate(model, validation, run)})
        run.log({"val/parameters": parameters(model)})
        run.best(METRIC, model)


def take_teacher(run: Run, classes: int) -> nn.Module:
    """The teacher in eval mode, and a copy of its run for the report, which is written when only this folder is left.

    Raises:
        BadInput: it knows other classes.
    """
    source = run.upstream(TEACHER)
    known = load_shape(source)["classes"]
    if known != classes:
        raise BadInput(f"the teacher in {source} knows {known} classes where the data have {classes}")
    if run.rank == 0:
        for name in ("config.json", SHAPE, WEIGHTS):
            shutil.copyfile(source / name, run.file(f"{TEACHER}/{name}"))
    return cnn.load(source).requires_grad_(False).to(memory_format=torch.channels_last).to(run.device)


def vary(images: torch.Tensor, config: CompressionConfig) -> torch.Tensor:
    """Training pictures changed at random, each in its own way: (B, 3, H, W), values 0 to 255."""
    if config.augment:
        return augment(images, images.shape[-1], config.augment)
    mirrored = torch.rand(len(images)) < 0.5  # on the CPU, so that every kind of device sees the same pictures
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def evaluate(model: nn.Module, pictures: Dataset, run: Run) -> float:
    """Accuracy over all pictures."""
    hits, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        for images, labels in run.loader(pictures, 256):
            hits += (net(images).argmax(1) == labels).sum()
            count += len(labels)
    return run.mean(hits, count)


def load(folder: Path) -> Student:
    return load_weights(folder, build(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Student, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) uint8 -> (B, classes) probabilities, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model(torch.from_numpy(inputs).to(device)).softmax(1).cpu().numpy()
    return output


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.csv` (`Id,Category`, ids as the test pictures' names) and the report's parts: the student layer
    by layer, the teacher pruned, and what teacher and student cost (`labs.compression.figures`)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cnn.submit(partial(predict, load(folder).to(device)), data_dir, out / LAB.submission)
    training, validation = (
        shards.ArrowDataset(data_dir, split, ("image", "label")) for split in ("train", "validation")
    )
    write_report(out, cnn.load(folder / TEACHER), load(folder), training, validation, device)


def check_submission(file: Path) -> list[str]:
    fault = submission.class_fault(len(data.CLASSES))
    return submission.check(file, cnn.HEADER, "<class>", lambda number: f"{number:04d}", fault)


def space() -> dict[str, dict[str, object]]:
    return {
        "network": {"type": "choice", "values": ["plain", "separable"]},
        "width": {"type": "choice", "values": [8, 12, 16, 20, 24]},  # with few blocks: all below the limit
        "blocks": {"type": "randint", "low": 1, "high": 3, "when": {"network": "separable"}},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.5},
        "alpha": {"type": "uniform", "low": 0.0, "high": 1.0},
        "temperature": {"type": "loguniform", "low": 1.0, "high": 20.0},
        "hint": {"type": "uniform", "low": 0.0, "high": 4.0},
        "optimizer": {"type": "choice", "values": ["adam", "adamw"]},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 2e-2},
        "weight_decay": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "batch_size": {"type": "choice", "values": [32, 64, 128]},
        "epochs": {"type": "randint", "low": 5, "high": 100},
    }


DISTILLED = {"alpha": 0.9, "temperature": 4.0}
SEPARABLE = {"network": "separable", "width": 24, "augment": 1.0}
RISE_AND_FALL = {"optimizer": "adamw", "schedule": "cosine", "lr": 4e-3, "weight_decay": 0.02}
LAB = Lab(
    heading=COURSE["compression"],
    config=CompressionConfig,
    presets={
        "simple": {},
        "medium": DISTILLED,
        "strong": {**DISTILLED, **SEPARABLE, **RISE_AND_FALL},
        "boss": {**DISTILLED, **SEPARABLE, **RISE_AND_FALL, "hint": 1.0},
    },
    sizes={
        "tiny": {"width": 8, "blocks": 1, "image_size": 32, "epochs": 2},
        "small": {"width": 16, "image_size": 40, "batch_size": 32},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=cnn.example,  # packed as homework 3's pictures are
    deliver=deliver,
    check_submission=check_submission,
    score=cnn.score,
    submission=cnn.LAB.submission,
    space=space,
    network=lambda config: build(config, len(data.CLASSES)),
    data=data,
    tuned={
        ("simple", "small"): {"lr": 1e-3, "epochs": 8},
        ("medium", "small"): {"lr": 2e-3, "epochs": 16},
        ("strong", "small"): {"augment": 0.5, "epochs": 12},
        ("boss", "small"): {"augment": 0.5, "epochs": 20},
        **{(preset, "course"): {"epochs": 100} for preset in ("medium", "strong", "boss")},
    },
    second=Metric("parameters", "min"),
    needs={TEACHER: "cnn"},
    seconds={"tiny": 2, "small": 80, "course": 3600},
)
