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
    Further methods can be added to each preset: relational distillation (`relation`), deep mutual learning (`mutual`),
    and a teaching assistant, a larger student (`assistant`) whose run is the teacher of the next
    (pipelines/specs/teaching-assistant.yaml).
Report
    (a)  Which layers does the student have, and how many parameters, at most 100,000 in all?
    (b)  What is the loss of knowledge distillation, and what does its temperature do?
    (c)  How accurate is the teacher after pruning, by the fraction that is pruned, and is its inference faster?
Papers
    Hinton et al., Knowledge Distillation (arXiv:1503.02531); Howard et al., MobileNets (arXiv:1704.04861); Romero et
    al., FitNets (arXiv:1412.6550); Park et al., Relational Knowledge Distillation (arXiv:1904.05068); Zhang et al.,
    Deep Mutual Learning (arXiv:1706.00384); Mirzadeh et al., Teacher Assistant (arXiv:1902.03393); Li et al., Pruning
    Filters for Efficient ConvNets (arXiv:1608.08710).
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.cnn import lesson as cnn
from labs.cnn.demo import DEMO
from labs.compression import data, report
from labs.compression.config import CompressionConfig, build
from labs.compression.hints import HintLoss
from labs.compression.relations import relational_loss
from labs.compression.student import Student
from labs.compression.teacher import TEACHER, load_copy, load_teacher, provided
from labs.core import shards, submission
from labs.core.cost import count_parameters
from labs.core.heading import Metric
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import learning_rate, set_rate
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.vision.augmentation import augment

METRIC = COURSE["compression"].metric


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


def label_loss(
    logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor, config: CompressionConfig
) -> torch.Tensor:
    """What a student learns of each image alone: cross-entropy, or with a teacher knowledge distillation."""
    if teacher_logits is None:
        return F.cross_entropy(logits, labels)
    return distillation_loss(logits, teacher_logits, labels, config.alpha, config.temperature)


def divergence(logits: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL(p_other || p), by which a student learns the other's predictions (Zhang et al., arXiv:1706.00384, eq. 6)."""
    return F.kl_div(logits.log_softmax(1), other.detach().log_softmax(1), reduction="batchmean", log_target=True)


def train(config: CompressionConfig, run: Run) -> None:
    training = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    validation = shards.ArrowDataset(run.data_dir, "validation", ("image", "label"))
    classes = len(shards.manifest(run.data_dir)["facts"]["classes"])
    run.write_shape(classes=classes)
    model = run.wrap(build(config, classes).to(memory_format=torch.channels_last))
    teacher = load_teacher(run, classes).to(memory_format=torch.channels_last)
    any_image = torch.zeros(1, 3, config.image_size, config.image_size, device=run.device)
    hint = HintLoss(unwrap(model), teacher, any_image)
    # Of no use after the training: the regressor of the hints and, with mutual learning, the second student.
    helpers = nn.ModuleDict({"hint": hint})
    if config.mutual:
        helpers["peer"] = build(config, classes).to(memory_format=torch.channels_last).to(run.device)
    for weight in helpers.parameters():  # outside `run.wrap`, which gives all workers the weights of rank 0
        weight.data = run.broadcast(weight.data)
    weights = [*model.parameters(), *helpers.parameters()]
    make_optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = make_optimizer(weights, lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, **helpers, "optimizer": optimizer}):
        train_loss = Meter()
        for step, (images, labels) in enumerate(batches):
            # 1. Learning rate of this step.
            progress = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, learning_rate(config.lr, config.schedule, progress))
            # 2. Augmentation; student and teacher see the same images.
            images = augment_batch(images, config)
            # 3. Cross-entropy with the labels, or distillation from the teacher's logits.
            logits = model(images)
            teacher_logits = teacher(images) if config.alpha or config.hint or config.relation else None
            loss = label_loss(logits, teacher_logits, labels, config)
            # 4. Hint loss and relational loss of the feature maps of these forward passes: L = L_KD + hint * L_HT
            #    + relation * L_RKD.
            if config.hint:
                loss = loss + config.hint * hint.loss()
            if config.relation:
                loss = loss + config.relation * relational_loss(*hint.embeddings())
            # 5. Mutual learning: the second student learns like the first, and each from the other's predictions,
            #    L_1 = L + mutual * KL(p_2 || p_1) and L_2 = L + mutual * KL(p_1 || p_2). Both take their step at once.
            if config.mutual:
                peer_logits = helpers["peer"](images)
                loss = loss + label_loss(peer_logits, teacher_logits, labels, config)
                loss = loss + config.mutual * (divergence(logits, peer_logits) + divergence(peer_logits, logits))
            # 6. Backward pass; the gradients of the helpers are averaged here, the student's by `run.wrap`.
            optimizer.zero_grad()
            run.backward(loss)
            if config.hint or config.mutual:
                run.sync_gradients(helpers)
            # 7. Optimizer step with a clipped gradient.
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
        "relation": {"type": "uniform", "low": 0.0, "high": 50.0},
        "mutual": {"type": "choice", "values": [0.0, 1.0]},
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
