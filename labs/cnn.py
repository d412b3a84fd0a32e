"""Homework 3, CNN: which of eleven kinds of food a picture shows.

Task
    Classify a picture of food, with no weights or pictures from elsewhere.
Data
    `labs.data.food`: Food-11; 9,866 training, 3,430 validation and 3,347 test pictures of any size.
Metric
    Accuracy, higher is better, a share of the test pictures. Course's public thresholds: simple 0.50099,
    medium 0.73207, strong 0.81872, boss 0.88446.
Ladder
    simple   the course's sample: five convolutions with batch normalisation and max-pooling, then three linear layers;
             Adam at a constant rate, no augmentation.
    strong   random crops, turns, flips and colours; a residual network; AdamW with a rising and falling rate and
             label smoothing.
Papers
    He et al., Deep Residual Learning (arXiv:1512.03385); Szegedy et al., label smoothing (arXiv:1512.00567);
    Smith & Topin, Super-Convergence (arXiv:1708.07120); Zhong et al., Random Erasing (arXiv:1708.04896).
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from labs import submission
from labs.data import food, shards
from labs.lab import Config, Lab, Metric
from labs.nn.augmentation import augment
from labs.nn.residual import ResidualNet
from labs.run import Run
from labs.schedule import set_rate, warmup_cosine
from labs.weights import load_shape, load_weights

METRIC = Metric("accuracy", "max", "", {"simple": 0.50099, "medium": 0.73207, "strong": 0.81872, "boss": 0.88446})
HEADER = ("Id", "Category")


class CnnConfig(Config):
    network: Literal["plain", "residual"] = "plain"
    """The sample's stack of convolutions, or one with shortcuts around every two of them."""
    width: int = Field(64, ge=4)
    """Channels of the first stage; the later and the linear layers grow with it."""
    blocks: int = Field(2, ge=1)
    """Residual blocks of each of the four stages; no effect with `network=plain`."""
    image_size: int = Field(128, ge=32)
    """Pixels of a side that the network sees."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of the random changes to training pictures: 0 for none, 1 for the usual ones."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread evenly over all classes."""
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
    epochs: int = Field(80, ge=1)
    """Passes over the training pictures."""


class PlainNet(nn.Module):
    """The sample's network. Input (B, 3, size, size) float, output (B, classes) logits."""

    def __init__(self, width: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in (width, 2 * width, 4 * width, 8 * width, 8 * width):
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2, 2)]
            inputs = outputs
        self.cnn = nn.Sequential(*layers)
        self.fc = nn.Sequential(
            nn.Linear(inputs * (size // 32) ** 2, 16 * width),
            nn.ReLU(),
            nn.Linear(16 * width, 8 * width),
            nn.ReLU(),
            nn.Linear(8 * width, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.cnn(x).flatten(1))
        return logits


class Classifier(nn.Module):
    """A network that takes pictures as they are stored: (B, 3, H, W), values 0 to 255 of any type, any square size."""

    def __init__(self, config: CnnConfig, classes: int) -> None:
        super().__init__()
        self.size = config.image_size
        self.net: nn.Module
        if config.network == "plain":
            self.net = PlainNet(config.width, config.image_size, classes)
        else:
            self.net = ResidualNet(config.width, config.blocks, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.float() / 255
        if images.shape[-1] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        logits: torch.Tensor = self.net(images)
        return logits


def train(config: CnnConfig, run: Run) -> None:
    training = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    validation = shards.ArrowDataset(run.data_dir, "validation", ("image", "label"))
    classes = len(shards.manifest(run.data_dir)["facts"]["classes"])
    run.write_shape(classes=classes)
    # Convolutions are a quarter faster with the channels last, on CPUs as on GPUs.
    model = run.wrap(Classifier(config, classes).to(memory_format=torch.channels_last))
    make_optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = make_optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    batches = run.loader(training, config.batch_size, train=True)

    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        loss_sum, count = torch.zeros((), device=run.device), 0
        for step, (images, labels) in enumerate(batches):
            set_rate(optimizer, learning_rate(config, (epoch + step / len(batches)) / config.epochs))
            if config.augment:
                images = augment(images, config.image_size, config.augment)
            loss = F.cross_entropy(model(images), labels, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            loss_sum += loss.detach() * len(images)
            count += len(images)
        run.log({"train/loss": run.mean(loss_sum, count), "val/accuracy": evaluate(model, validation, run)})
        run.best(METRIC, model)


def learning_rate(config: CnnConfig, done: float) -> float:
    """The rate when the share `done` of the training is over."""
    return config.lr * (1.0 if config.schedule == "constant" else warmup_cosine(done))


def evaluate(model: nn.Module, pictures: Dataset, run: Run) -> float:
    """Accuracy over all pictures: hits over a count, where the sample takes a mean of batch means."""
    hits, count = torch.zeros((), device=run.device), 0
    with run.evaluation(model) as net:
        for images, labels in run.loader(pictures, 256):
            hits += (net(images).argmax(1) == labels).sum()
            count += len(labels)
    return run.mean(hits, count)


def load(folder: Path) -> Classifier:
    return load_weights(folder, Classifier(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Classifier, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) uint8 -> (B, classes) probabilities, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model(torch.from_numpy(inputs).to(device)).softmax(1).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.csv` (`Id,Category`, ids as the test pictures' names) and, for report question 1,
    `augmentation.png`: a training picture and five outputs of the train transform."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    pictures = shards.ArrowDataset(data_dir, "test", ("image",))
    ids = shards.manifest(data_dir)["facts"]["test_ids"]
    parts = torch.arange(len(pictures)).split(256)
    guesses = np.concatenate([predict(model, pictures[part][0].numpy()).argmax(1) for part in parts])
    submission.write(out / LAB.submission, HEADER, zip(ids, guesses, strict=True))
    original = shards.ArrowDataset(data_dir, "train", ("image",))[torch.arange(1)][0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # The question asks for a transform of any run; one that trains without takes the usual strength.
        changed = augment(original.expand(5, -1, -1, -1), original.shape[-1], LAB.read_config(folder).augment or 1.0)
    figure = Figure(figsize=(12, 2.4))
    titles = ["training picture", *(f"output {number}" for number in range(1, 6))]
    for axes, title, image in zip(figure.subplots(1, 6), titles, torch.cat([original, changed.byte()]), strict=True):
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set_title(title)
        axes.axis("off")
    figure.savefig(out / "augmentation.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    fault = submission.class_fault(len(food.CLASSES))
    return submission.check(file, HEADER, "<class>", lambda number: f"{number + 1:04d}", fault)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    answers = data_dir / food.ANSWERS
    if not answers.exists():
        return {}
    labels = shards.ArrowDataset(data_dir, "train", ("label",)).columns[0].all()
    most = str(labels.mode().values.item())
    return submission.accuracy(delivered / LAB.submission, submission.guesses(answers), most)


def space() -> dict[str, dict[str, object]]:
    return {
        "network": {"type": "choice", "values": ["plain", "residual"]},
        "width": {"type": "choice", "values": [8, 16, 32, 64]},
        "blocks": {"type": "randint", "low": 1, "high": 4, "when": {"network": "residual"}},
        "image_size": {"type": "choice", "values": [32, 48, 64, 96, 128]},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.5},
        "label_smoothing": {"type": "uniform", "low": 0.0, "high": 0.2},
        "optimizer": {"type": "choice", "values": ["adam", "adamw"]},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "weight_decay": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
        "schedule": {"type": "choice", "values": ["constant", "cosine"]},
        "batch_size": {"type": "choice", "values": [32, 64, 128]},
        "epochs": {"type": "randint", "low": 5, "high": 100},
    }


LAB = Lab(
    name="cnn",
    number=3,
    title="Food classification",
    metric=METRIC,
    config=CnnConfig,
    presets={
        "simple": {},
        "strong": {
            "network": "residual",
            "augment": 1.0,
            "label_smoothing": 0.1,
            "optimizer": "adamw",
            "lr": 2e-3,
            "weight_decay": 0.05,
            "schedule": "cosine",
        },
    },
    sizes={
        "tiny": {"width": 8, "blocks": 1, "image_size": 32, "epochs": 3},
        "small": {"width": 16, "blocks": 1, "image_size": 40, "epochs": 15},
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
    tuned={("simple", "small"): {"lr": 1e-3}, ("strong", "small"): {"epochs": 40, "batch_size": 32, "augment": 0.6}},
    seconds={"tiny": 2, "small": 40, "course": 3600},
)
