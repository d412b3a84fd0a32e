"""Homework 3, CNN: which of eleven kinds of food a picture shows.

Task
    Classify a picture of food, with no weights or pictures from elsewhere.
Data
    `labs.shared.vision.food`: Food-11; 9,866 training, 3,430 validation and 3,347 test pictures of any size.
Metric
    Accuracy, higher is better, a share of the test pictures. Course's public thresholds: simple 0.50099,
    medium 0.73207, strong 0.81872, boss 0.88446.
Ladder
    simple   the course's sample: five convolutions with batch normalisation and max-pooling, then three linear layers;
             Adam at a constant rate, no augmentation.
    medium   the sample's network, and no picture seen twice alike: random crops, turns, flips, colours, erased parts.
    strong   a residual network as well; AdamW with a rising and falling rate.
    boss     pictures mixed in pairs (mixup), label smoothing; cross-validation over training and validation pictures,
             whose members guess together; the mean over augmented test pictures counts for half of a guess.
Report
    (a) `augmentation.png` of any run. (b) `network=six` and `network=six-residual`: the same layers, another forward.
Papers
    He et al., Deep Residual Learning (arXiv:1512.03385); Smith & Topin, Super-Convergence (arXiv:1708.07120); Zhong et
    al., Random Erasing (arXiv:1708.04896); Zhang et al., mixup (arXiv:1710.09412); Szegedy et al., label smoothing
    (arXiv:1512.00567); Krogh & Vedelsby, Neural Network Ensembles, Cross Validation (NIPS 1994).
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
from labs.cnn.figures import augmentation
from labs.cnn.folds import Pictures, split
from labs.cnn.networks import PlainNet, SixLayerNet, SixLayerResidualNet
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import set_rate, warmup_cosine
from labs.core.weights import load_shape, load_weights
from labs.shared.vision import food
from labs.shared.vision.augmentation import augment, erase, mixup
from labs.shared.vision.residual import ResidualNet

METRIC = COURSE["cnn"].metric
HEADER = ("Id", "Category")


class CnnConfig(Config):
    network: Literal["plain", "residual", "six", "six-residual"] = "plain"
    """The sample's stack of convolutions, one with shortcuts, or the report's six layers without and with them."""
    width: int = Field(64, ge=4)
    """Channels of the first stage; the later and the linear layers grow with it."""
    blocks: int = Field(2, ge=1)
    """Residual blocks of a stage; no effect without `network=residual`."""
    image_size: int = Field(128, ge=32)
    """Pixels of a side that the network sees."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of the random changes to training pictures: 0 for none, 1 for the usual ones."""
    mixup: float = Field(0.0, ge=0)
    """Training pictures are blended in pairs, at a share drawn from Beta(mixup, mixup); 0 for none."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread evenly over all classes."""
    folds: int = Field(1, ge=1)
    """From 2 on: training and validation pictures are cut into so many parts, a member for each learns from all the
    others, and the members' mean logits guess; `val/accuracy` is then out of fold."""
    views: int = Field(0, ge=0)
    """Augmented views of a picture whose mean guess counts beside the plain one's; none when validating."""
    view_weight: float = Field(0.5, ge=0, le=1)
    """Share of the views' mean in a guess; no effect with `views=0`."""
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
    """Pictures of a global batch; with `folds`, of each member's."""
    epochs: int = Field(80, ge=1)
    """Passes over the training pictures."""


def build(config: CnnConfig, classes: int) -> nn.Module:
    """A network for pictures of `image_size`: (B, 3, size, size) float to (B, classes) logits."""
    if config.network == "residual":
        return ResidualNet(config.width, config.blocks, classes)
    networks = {"plain": PlainNet, "six": SixLayerNet, "six-residual": SixLayerResidualNet}
    return networks[config.network](config.width, config.image_size, classes)


class Classifier(nn.Module):
    """One or several networks that take pictures as they are stored: values 0 to 255 of any type, any square size."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList([build(config, classes) for _ in range(config.folds)])

    def forward(self, images: torch.Tensor, member: int | None = None) -> torch.Tensor:
        """(B, 3, H, W) -> the members' mean logits (B, classes), or one member's; in training (B, members, 3, H, W), a
        picture for each member, -> each one's own logits (B, members, classes)."""
        if member is not None:
            images, size = images.float() / 255, self.config.image_size
            if images.shape[-1] != size:
                images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
            logits: torch.Tensor = self.members[member](images)
            return logits
        members = range(len(self.members))
        if images.dim() == 5:
            return torch.stack([self(images[:, member], member) for member in members], 1)
        return torch.stack([self(images, member) for member in members]).mean(0)

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, classes): those of the plain picture, mixed with the mean over its augmented views."""
        plain: torch.Tensor = self(images).softmax(1)
        config, views = self.config, torch.zeros_like(plain)
        if not config.views:
            return plain
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # a picture gets the same guess whenever and in whatever company
            for _ in range(config.views):
                views += self(augment(images, config.image_size, config.augment, alike=True)).softmax(1)
        return (1 - config.view_weight) * plain + config.view_weight * views / config.views


def train(config: CnnConfig, run: Run) -> None:
    classes = len(shards.manifest(run.data_dir)["facts"]["classes"])
    learning, held_out = split(run.data_dir, config.folds, run.seed)
    validation = [Pictures(run.data_dir, rows) for rows in held_out]
    run.write_shape(classes=classes)
    # Convolutions are a quarter faster with the channels last, on CPUs as on GPUs.
    model = run.wrap(Classifier(config, classes).to(memory_format=torch.channels_last))
    make_optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = make_optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(Pictures(run.data_dir, learning), config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        loss_sum, count = torch.zeros((), device=run.device), 0
        for step, (images, labels) in enumerate(batches):  # (B, members, ...): each member has pictures of its own
            set_rate(optimizer, learning_rate(config, (epoch + step / len(batches)) / config.epochs))
            targets = F.one_hot(labels, classes).float()
            if config.augment:
                changed = augment(images.flatten(0, 1), config.image_size, config.augment)
                images = erase(changed, config.augment).unflatten(0, labels.shape)
            if config.mixup:
                images, targets = mixup(images, targets, config.mixup)
            logits = model(images)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            (loss * config.folds).backward()  # the sum over members: each learns as if it were alone
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            loss_sum += loss.detach() * len(images)
            count += len(images)
        run.log({"train/loss": run.mean(loss_sum, count), "val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def learning_rate(config: CnnConfig, done: float) -> float:
    """The rate when the share `done` of the training is over."""
    return config.lr * (1.0 if config.schedule == "constant" else warmup_cosine(done))


def evaluate(model: Classifier, validation: list[Pictures], run: Run) -> float:
    """Accuracy of each member on the pictures held out from it: hits over a count, where the sample takes a mean of
    batch means."""
    hits, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        for member, pictures in enumerate(validation):
            for images, labels in run.loader(pictures, 128):
                hits += (net(images, member).argmax(1) == labels).sum()
                count += len(labels)
    return run.mean(hits, count)


def load(folder: Path) -> Classifier:
    return load_weights(folder, Classifier(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Classifier, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) uint8 -> (B, classes) probabilities, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model.probabilities(torch.from_numpy(inputs).to(device)).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.csv` (`Id,Category`, ids as the test pictures' names) and, for report question 1,
    `augmentation.png`: a training picture and five outputs of the train transform."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    submit(partial(predict, model), data_dir, out / LAB.submission)
    picture = shards.ArrowDataset(data_dir, "train", ("image",))[torch.arange(1)][0][0]
    # The question asks for a transform of any run; one that trains without takes the usual strength.
    figure = augmentation(picture, LAB.read_config(folder).augment or 1.0)
    figure.savefig(out / "augmentation.png", dpi=100, bbox_inches="tight")


def submit(classify: Callable[[np.ndarray], np.ndarray], data_dir: Path, file: Path) -> None:
    """Write the classes that `classify`, (B, 3, H, W) uint8 -> (B, classes) probabilities, gives the test pictures."""
    pictures = shards.ArrowDataset(data_dir, "test", ("image",))
    ids = shards.manifest(data_dir)["facts"]["test_ids"]
    parts = torch.arange(len(pictures)).split(256)
    predictions = np.concatenate([classify(pictures[part][0].numpy()).argmax(1) for part in parts])
    submission.write(file, HEADER, zip(ids, predictions, strict=True))


def check_submission(file: Path) -> list[str]:
    fault = submission.class_fault(len(food.CLASSES))
    return submission.check(file, HEADER, "<class>", lambda number: f"{number + 1:04d}", fault)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / food.ANSWERS
    if not answers.exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    most = str(labels.mode().values.item())
    return submission.accuracy(delivered / LAB.submission, submission.predictions(answers), most)


def space() -> dict[str, dict[str, object]]:
    return {
        "network": {"type": "choice", "values": ["plain", "residual"]},
        "width": {"type": "choice", "values": [8, 16, 32, 64]},
        "blocks": {"type": "randint", "low": 1, "high": 4, "when": {"network": "residual"}},
        "image_size": {"type": "choice", "values": [32, 48, 64, 96, 128]},
        "augment": {"type": "uniform", "low": 0.1, "high": 1.5},
        "mixup": {"type": "uniform", "low": 0.0, "high": 0.5},
        "label_smoothing": {"type": "uniform", "low": 0.0, "high": 0.2},
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
        # In a dozen passes mixed pictures and smoothed labels are not learnt through: together they cost a member four
        # hundredths of accuracy, so at this size the ensemble and the views are what the rung adds.
        ("boss", "small"): {**SHORT, "mixup": 0.0, "label_smoothing": 0.0},
    },
    seconds={"tiny": 2, "small": 40, "course": 3600},
)
