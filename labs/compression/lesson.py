"""Homework 13, network compression: classify images of food with at most 100,000 parameters.

Task
    Train a small network, the student, with the help of a large one, the teacher: the course's ResNet-18 where the data
    folder has it (`resnet18_teacher.ckpt`), else a run of the cnn lab. All of the student's parameters count, those of
    frozen layers and of an ensemble's members included. The teacher may not label test images.
Data
    `labs.compression.data`: Food-11 as in homework 3, the test set renumbered.
Metric
    Accuracy on the test images, higher is better. Course's public thresholds, second-hand: simple 0.44820, medium
    0.64840, strong 0.82370, boss 0.85159.
Ladder
    simple   the course's sample code: four convolutions with batch norm, cross-entropy, random horizontal flips. The
             teacher is not used in the training, only pruned and measured for the report.
    medium   knowledge distillation: the student also learns the teacher's softened predictions; trained for longer.
    strong   depthwise-separable convolutions, which allow a wider and deeper network of as many parameters; random
             crops, rotations and colours; AdamW, with linear warm-up and cosine decay of the learning rate.
    boss     feature distillation: a regressor on the student's last feature map also predicts the teacher's. At size
             small it trains for longer as well; at equal length the hint loss made no difference beyond the noise.
Report
    (a)  Which layers does the student have, and how many parameters, at most 100,000 in all?
    (b)  What is the loss of knowledge distillation, and what does its temperature do?
    (c)  How accurate is the teacher after pruning, by the fraction that is pruned, and is its inference faster?
Papers
    Hinton et al., Knowledge Distillation (arXiv:1503.02531); Howard et al., MobileNets (arXiv:1704.04861); Romero et
    al., FitNets (arXiv:1412.6550); Li et al., Pruning Filters for Efficient ConvNets (arXiv:1608.08710).
"""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.cnn import lesson as cnn
from labs.cnn.demo import DEMO
from labs.compression import data, report
from labs.compression.hints import HintLoss
from labs.compression.student import PlainStudent, SeparableNet, Student
from labs.compression.teacher import TEACHER, load_copy, load_teacher, provided
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.cost import count_parameters
from labs.core.errors import BadInput
from labs.core.heading import Metric
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import learning_rate, set_rate
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.vision.augmentation import augment

METRIC = COURSE["compression"].metric
LIMIT = 100_000
"""Parameters that the course allows, at every size."""


class CompressionConfig(Config):
    network: Literal["plain", "separable"] = "plain"
    """The sample code's four convolutions, or four stages of depthwise-separable ones."""
    width: int = Field(32, ge=4)
    """Channels of the first layer; those of the later layers are proportional to it."""
    blocks: int = Field(2, ge=1)
    """Separable blocks of each of the four stages; no effect with `network=plain`."""
    image_size: int = Field(224, ge=32)
    """Side of the student's input in pixels."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of the random rotations, crops and colours of training images; 0 for horizontal flips only. At 1 the
    rotation is up to 23 degrees."""
    alpha: float = Field(0.0, ge=0, le=1)
    """Weight of the distillation loss; the cross-entropy with the labels has the weight 1 - alpha."""
    temperature: float = Field(1.0, gt=0)
    """Divisor of teacher and student logits before the softmax of the distillation loss; no effect with `alpha=0`."""
    hint: float = Field(0.0, ge=0)
    """Weight of the hint loss between the last feature maps of student and teacher; 0 for none."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam with an L2 penalty, as in the sample code, or AdamW with decoupled weight decay."""
    lr: float = Field(3e-4, gt=0)
    """Learning rate; with `schedule=cosine` its highest value."""
    weight_decay: float = Field(1e-5, ge=0)
    """Coefficient of the L2 penalty (Adam) or of the decoupled weight decay (AdamW)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate: constant, or with linear warm-up in the first tenth of the training and cosine decay to 0."""
    clip: float = Field(10.0, gt=0)
    """Largest L2 norm of the gradient; longer gradients are scaled down to it."""
    batch_size: int = Field(64, ge=1)
    """Images of a global batch."""
    epochs: int = Field(10, ge=1)
    """Passes over the training images."""

    @model_validator(mode="after")
    def _within_limit(self) -> "CompressionConfig":
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
    if count_parameters(net) > LIMIT:
        raise BadInput(f"the student has {count_parameters(net):,} parameters where the course allows {LIMIT:,}; "
                       "a smaller width has fewer")  # fmt: skip
    return Student(net, config.image_size)


def distillation_loss(
    logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor, alpha: float, temperature: float
) -> torch.Tensor:
    """The loss of knowledge distillation (Hinton et al., arXiv:1503.02531), a mean over the batch.

    Logits of student and teacher (B, classes), labels (B,). The higher the temperature T, the softer both softmaxes.
    """
    student = (logits / temperature).log_softmax(1)
    teacher = (teacher_logits / temperature).log_softmax(1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    # L = alpha T^2 KL(teacher_T || student_T) + (1 - alpha) CE(y, student)
    # The gradients of KL shrink as 1 / T^2; the factor T^2 keeps the balance of both terms at every temperature.
    return alpha * temperature**2 * divergence + (1 - alpha) * F.cross_entropy(logits, labels)


def train(config: CompressionConfig, run: Run) -> None:
    training = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    validation = shards.ArrowDataset(run.data_dir, "validation", ("image", "label"))
    classes = len(shards.manifest(run.data_dir)["facts"]["classes"])
    run.write_shape(classes=classes)
    model = run.wrap(build(config, classes).to(memory_format=torch.channels_last))
    teacher = load_teacher(run, classes).to(memory_format=torch.channels_last)
    any_image = torch.zeros(1, 3, config.image_size, config.image_size, device=run.device)
    hint = HintLoss(unwrap(model), teacher, any_image)
    for weight in hint.parameters():  # outside `run.wrap`, which gives all workers the weights of rank 0
        weight.data = run.broadcast(weight.data)
    weights = [*model.parameters(), *hint.parameters()]
    make_optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = make_optimizer(weights, lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "hint": hint, "optimizer": optimizer}):
        train_loss = Meter()
        for step, (images, labels) in enumerate(batches):
            # 1. Learning rate of this step.
            progress = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, learning_rate(config.lr, config.schedule, progress))
            # 2. Augmentation; student and teacher see the same images.
            images = augment_batch(images, config)
            # 3. Cross-entropy with the labels, or distillation from the teacher's logits.
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            if config.alpha or config.hint:
                loss = distillation_loss(logits, teacher(images), labels, config.alpha, config.temperature)
            # 4. Hint loss between the feature maps of these forward passes: L = L_KD + hint * L_HT.
            if config.hint:
                loss = loss + config.hint * hint.loss()
            # 5. Backward pass; the regressor's gradients are averaged here, the student's by `run.wrap`.
            optimizer.zero_grad()
            run.backward(loss)
            if config.hint:
                run.sync_gradients(hint)
            # 6. Optimizer step with a clipped gradient.
            run.clip_gradients(optimizer, config.clip)
            run.step(optimizer)
            train_loss.add(loss, len(images))
        run.log({"train/loss": run.mean(train_loss.sum, train_loss.count)})
        run.log({"val/accuracy": evaluate(model, validation, run), "val/parameters": count_parameters(model)})
        run.best(METRIC, model)


def augment_batch(images: torch.Tensor, config: CompressionConfig) -> torch.Tensor:
    """Training images (B, 3, H, W), values 0 to 255, each augmented at random."""
    if config.augment:
        return augment(images, images.shape[-1], config.augment)
    flip = torch.rand(len(images)) < 0.5  # drawn on the CPU, so that every kind of device gets the same images
    return torch.where(flip.to(images.device)[:, None, None, None], images.flip(3), images)


def evaluate(model: nn.Module, validation: shards.ArrowDataset, run: Run) -> float:
    """Accuracy on the validation images of all workers."""
    correct = Meter()
    with run.evaluation(model) as net:
        for images, labels in run.loader(validation, 128):  # with 256 a CPU takes up to twice as long
            correct.add_sum((net(images).argmax(1) == labels).sum(), len(labels))
    return run.mean(correct.sum, correct.count)


def load(folder: Path) -> Student:
    return load_weights(folder, build(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Student, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) uint8 -> (B, classes) probabilities, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model(torch.from_numpy(inputs).to(device)).softmax(1).cpu().numpy()
    return output


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.csv` (`Id,Category`, ids are the test images' names) and the report."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cnn.submit(partial(predict, load(folder).to(device)), data_dir, out / LAB.submission)
    training, validation = (
        shards.ArrowDataset(data_dir, split, ("image", "label")) for split in ("train", "validation")
    )
    report.write(LAB, folder, out, load_copy(folder), load(folder), training, validation, device)


def check_submission(file: Path) -> list[str]:
    fault = submission.class_fault(len(data.CLASSES))
    return submission.check(file, cnn.HEADER, "<class>", lambda number: f"{number:04d}", fault)


def space() -> dict[str, dict[str, object]]:
    return {
        "network": {"type": "choice", "values": ["plain", "separable"]},
        "width": {"type": "choice", "values": [8, 12, 16, 20, 24]},  # within the limit for at most two blocks
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


DISTILLATION = {"alpha": 0.9, "temperature": 4.0}
SEPARABLE = {"network": "separable", "width": 24, "augment": 1.0}
ADAMW_COSINE = {"optimizer": "adamw", "schedule": "cosine", "lr": 4e-3, "weight_decay": 0.02}
LAB = Lab(
    heading=COURSE["compression"],
    config=CompressionConfig,
    presets={
        "simple": {},
        "medium": DISTILLATION,
        "strong": {**DISTILLATION, **SEPARABLE, **ADAMW_COSINE},
        "boss": {**DISTILLATION, **SEPARABLE, **ADAMW_COSINE, "hint": 1.0},
    },
    sizes={
        "tiny": {"width": 8, "blocks": 1, "image_size": 32, "epochs": 2},
        "small": {"width": 16, "image_size": 40, "batch_size": 32},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=cnn.example,  # the packed columns are those of homework 3
    demo=DEMO,
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
    provided=provided,
    seconds={"tiny": 2, "small": 80, "course": 3600},
)
