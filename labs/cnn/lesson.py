"""Homework 3, CNN: image classification of food.

Task
    Classify an image of food into eleven classes. Pre-trained weights and extra images are forbidden.
Data
    `labs.shared.vision.food`: Food-11; 9,866 training, 3,430 validation and 3,347 test images of any size.
Metric
    Accuracy, the fraction of test images with the right class; higher is better. Course's public thresholds:
    simple 0.50099, medium 0.73207, strong 0.81872, boss 0.88446.
Ladder
    simple   the course's sample: five convolutions with batch normalisation and max-pooling, then three linear layers;
             Adam at a constant learning rate, no augmentation.
    medium   augmentation: random crops, rotations, flips, colour changes and random erasing.
    strong   a residual network; AdamW with warm-up and cosine decay of the learning rate.
    boss     mixup, label smoothing; an ensemble by cross-validation on the training and validation images; test-time
             augmentation.
Report
    (a)  What does the training's augmentation make of one image? It must have at least five different results.
    (b)  How accurate is a network of six convolutions without, and how accurate with residual connections?
Papers
    He et al., Deep Residual Learning (arXiv:1512.03385); Smith & Topin, Super-Convergence (arXiv:1708.07120); Zhong et
    al., Random Erasing (arXiv:1708.04896); Zhang et al., mixup (arXiv:1710.09412); Szegedy et al., label smoothing
    (arXiv:1512.00567); Lin et al., Focal Loss (arXiv:1708.02002); Krogh & Vedelsby, Neural Network Ensembles, Cross
    Validation (NIPS 1994).
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.cnn import report
from labs.cnn.augmented_views import mean_probabilities
from labs.cnn.demo import DEMO
from labs.cnn.focal import focal_loss
from labs.cnn.folds import LabelledImages, split
from labs.cnn.networks import Architecture, build
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import learning_rate, set_rate
from labs.core.weights import load_shape, load_weights
from labs.shared.vision import food
from labs.shared.vision.augmentation import augment, erase, mixup

METRIC = COURSE["cnn"].metric
HEADER = ("Id", "Category")


class CnnConfig(Config):
    network: Architecture = "plain"
    """The sample's network, a residual network, the report's six layers without and with shortcuts, or homework 9's."""
    width: int = Field(64, ge=4)
    """Channels of the first stage; the widths of all later layers are multiples of it."""
    blocks: int = Field(2, ge=1)
    """Residual blocks of a stage; no effect unless `network=residual`."""
    image_size: int = Field(128, ge=32)
    """Height and width, in pixels, to which images are scaled."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of the augmentation; 0 turns it off, 1 is the default of the presets that augment."""
    mixup: float = Field(0.0, ge=0)
    """Parameter alpha of mixup, whose mixing coefficient is drawn from Beta(alpha, alpha); 0 turns it off."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Fraction of the target probability that is spread evenly over all classes."""
    focal_gamma: float = Field(0.0, ge=0)
    """Focusing parameter gamma of the focal loss: the larger, the less do examples count that are already classified
    with confidence; 0 for the cross-entropy."""
    folds: int = Field(1, ge=1)
    """Members of the ensemble. From 2 on, each trains on all folds but its own, logits are the members' mean, and
    `val/accuracy` is out of fold."""
    views: int = Field(0, ge=0)
    """Augmented copies of an image for test-time augmentation; 0 turns it off; no effect on `val/accuracy`."""
    view_weight: float = Field(0.5, ge=0, le=1)
    """Weight of the copies' mean probabilities in a prediction; no effect with `views=0`."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam with an L2 penalty, as in the sample, or AdamW with decoupled weight decay."""
    lr: float = Field(3e-4, gt=0)
    """Learning rate; with `schedule=cosine` its highest value."""
    weight_decay: float = Field(1e-5, ge=0)
    """Coefficient of the L2 penalty or of the weight decay."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate: constant; or linear warm-up over the first tenth of the training, then cosine decay to 0."""
    clip: float = Field(10.0, gt=0)
    """Norm above which the gradient is scaled down to it."""
    batch_size: int = Field(64, ge=1)
    """Images in a global batch; with `folds`, for each member."""
    epochs: int = Field(80, ge=1)
    """Passes over the training images."""


class Classifier(nn.Module):
    """An ensemble of one or several networks. Takes square images of any size as stored, with values 0 to 255."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        sizes = config.width, config.blocks, config.image_size, classes
        self.members = nn.ModuleList([build(config.network, *sizes) for _ in range(config.folds)])

    def forward(self, images: torch.Tensor, member: int | None = None) -> torch.Tensor:
        """Images (B, 3, H, W) -> logits (B, classes): the mean of the members' logits, or those of one member.

        In training, images (B, members, 3, H, W), own images for each member -> logits (B, members, classes).
        """
        if member is not None:
            return self.member_logits(images, member)
        members = range(len(self.members))
        if images.dim() == 5:
            return torch.stack([self.member_logits(images[:, number], number) for number in members], 1)
        return torch.stack([self.member_logits(images, number) for number in members]).mean(0)

    def member_logits(self, images: torch.Tensor, member: int) -> torch.Tensor:
        """Images (B, 3, H, W), scaled to values 0 to 1 and to `image_size` -> logits (B, classes) of one member."""
        images, size = images.float() / 255, self.config.image_size
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        logits: torch.Tensor = self.members[member](images)
        return logits

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, classes), with test-time augmentation."""
        plain: torch.Tensor = self(images).softmax(1)
        config = self.config
        if not config.views:
            return plain
        # p = (1 - w) p(x) + w * 1/V sum_v p(augment_v(x))
        augmented = mean_probabilities(self, images, config.views, config.image_size, config.augment)
        return (1 - config.view_weight) * plain + config.view_weight * augmented


def train(config: CnnConfig, run: Run) -> None:
    classes = len(shards.manifest(run.data_dir)["facts"]["classes"])
    train_rows, val_rows = split(run.data_dir, config.folds, run.seed)
    validation = [LabelledImages(run.data_dir, rows) for rows in val_rows]
    run.write_shape(classes=classes)
    # Convolutions are a quarter faster in the channels-last memory format, on CPUs and on GPUs.
    model = run.wrap(Classifier(config, classes).to(memory_format=torch.channels_last))
    make_optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = make_optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(LabelledImages(run.data_dir, train_rows), config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        train_loss = Meter()
        for step, (images, labels) in enumerate(batches):  # (B, members, ...): each member has its own images
            # Set the learning rate of this step.
            done = (epoch + step / len(batches)) / config.epochs
            set_rate(optimizer, learning_rate(config.lr, config.schedule, done))
            # Augment: random affine maps, flips, colours; random erasing.
            if config.augment:
                augmented = augment(images.flatten(0, 1), config.image_size, config.augment)
                images = erase(augmented, config.augment).unflatten(0, labels.shape)
            # Mix pairs of images and of their targets:  x = l x_i + (1 - l) x_j,  y = l y_i + (1 - l) y_j
            targets = F.one_hot(labels, classes).float()
            if config.mixup:
                images, targets = mixup(images, targets, config.mixup)
            # Cross-entropy (gamma = 0) or focal loss, with soft targets t:  L = -sum_c t_c (1 - p_c)^gamma log p_c
            logits, targets = model(images).flatten(0, 1), targets.flatten(0, 1)
            loss = focal_loss(logits, targets, config.focal_gamma, config.label_smoothing)
            # Backpropagate the sum over members, so that each is trained as if it were alone; clip; update the weights.
            optimizer.zero_grad()
            run.backward(loss * config.folds)
            run.clip_gradients(optimizer, config.clip)
            run.step(optimizer)
            train_loss.add(loss, len(images))
        # Validate, keep the best weights.
        mean_loss = run.mean(train_loss.sum, train_loss.count)
        run.log({"train/loss": mean_loss, "val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def evaluate(model: Classifier, validation: list[LabelledImages], run: Run) -> float:
    """Accuracy of each member on the images held out from it, over all of these images."""
    correct = Meter()
    with run.evaluation(model) as net:
        for member, held_out in enumerate(validation):
            for images, labels in run.loader(held_out, 128):
                correct.add_sum((net(images, member).argmax(1) == labels).sum(), len(labels))
    return run.mean(correct.sum, correct.count)


def load(folder: Path) -> Classifier:
    return load_weights(folder, Classifier(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Classifier, inputs: np.ndarray) -> np.ndarray:
    """Images (B, 3, H, W) uint8 -> probabilities (B, classes) float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model.probabilities(torch.from_numpy(inputs).to(device)).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.csv` (header `Id,Category`; ids are the file names of the test images) and the report."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    submit(partial(predict, model), data_dir, out / LAB.submission)
    report.write(LAB, model, folder, data_dir, out)


def submit(classify: Callable[[np.ndarray], np.ndarray], data_dir: Path, file: Path) -> None:
    """Write the predictions for the test images; `classify` maps (B, 3, H, W) uint8 to (B, classes) probabilities."""
    images = shards.ArrowDataset(data_dir, "test", ("image",))
    ids = shards.manifest(data_dir)["facts"]["test_ids"]
    batches = torch.arange(len(images)).split(256)
    predictions = np.concatenate([classify(images[batch][0].numpy()).argmax(1) for batch in batches])
    submission.write(file, HEADER, zip(ids, predictions, strict=True))


def check_submission(file: Path) -> list[str]:
    fault, first = submission.class_fault(len(food.CLASSES)), int(submission.first_id(file) != "0000")  # 0 in 2023
    return submission.check(file, HEADER, "<class>", lambda number: f"{number + first:04d}", fault)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / food.ANSWERS
    if not answers.exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    most_frequent = str(labels.mode().values.item())
    return submission.accuracy(delivered / LAB.submission, submission.predictions(answers), most_frequent)


def space() -> dict[str, dict[str, object]]:
    return {
        "network": {"type": "choice", "values": ["plain", "residual"]},
        "width": {"type": "choice", "values": [8, 16, 32, 64]},
        "blocks": {"type": "randint", "low": 1, "high": 4, "when": {"network": "residual"}},
        "image_size": {"type": "choice", "values": [32, 48, 64, 96, 128]},
        "augment": {"type": "uniform", "low": 0.1, "high": 1.5},
        "mixup": {"type": "uniform", "low": 0.0, "high": 0.5},
        "label_smoothing": {"type": "uniform", "low": 0.0, "high": 0.2},
        "focal_gamma": {"type": "uniform", "low": 0.0, "high": 3.0},
        "optimizer": {"type": "choice", "values": ["adam", "adamw"]},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "weight_decay": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "batch_size": {"type": "choice", "values": [32, 64, 128]},
        "epochs": {"type": "randint", "low": 5, "high": 100},
    }


STRONG = {
    "network": "residual",
    "augment": 1.0,
    "optimizer": "adamw",
    "lr": 2e-3,
    "weight_decay": 0.05,
    "schedule": "cosine",
}
SHORT = {"batch_size": 32, "lr": 5e-3, "augment": 0.3}
LAB = Lab(
    heading=COURSE["cnn"],
    config=CnnConfig,
    presets={
        "simple": {},
        "medium": {"augment": 1.0},
        "strong": STRONG,
        "boss": {**STRONG, "mixup": 0.2, "label_smoothing": 0.1, "folds": 4, "views": 8},
    },
    sizes={
        "tiny": {"width": 8, "blocks": 1, "image_size": 32, "epochs": 3},
        "small": {"width": 16, "blocks": 1, "image_size": 40, "epochs": 13},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=DEMO,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="submission.csv",
    space=space,
    network=lambda config: Classifier(config, len(food.CLASSES)),
    data=food,
    tuned={
        ("simple", "small"): {"lr": 1e-3, "epochs": 10},
        ("medium", "small"): {"lr": 1e-3, "augment": 0.5, "epochs": 16},
        ("strong", "small"): SHORT,
        # Thirteen epochs are too few for mixup and label smoothing, which together lower a member's validation accuracy
        # by 0.04. At this size boss therefore adds only the ensemble and test-time augmentation.
        ("boss", "small"): {**SHORT, "mixup": 0.0, "label_smoothing": 0.0},
    },
    seconds={"tiny": 2, "small": 40, "course": 3600},
)
