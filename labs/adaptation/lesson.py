"""Homework 11, domain adaptation: what a drawing shows, learnt from photographs.

Task
    Ten classes of things; photographs have labels, drawings have none. No weights or pictures from elsewhere.
Data
    `labs.adaptation.data`: 5,000 photographs, RGB, 32 x 32; 100,000 drawings, grey, 28 x 28, evenly spread over
    the classes.
Metric
    Accuracy on the drawings, higher is better. Course's public thresholds: simple 0.44616, medium 0.64576,
    strong 0.75840, boss 0.80640.

    No drawing has a label, so nothing here can be validated in earnest, and accuracy on photographs is no guide: it
    saturates while the drawings still gain. `val/accuracy` is what can be had without labels: the share of drawings
    that get the same class upright as mirrored, turned and shrunk, no class counting more often than the balance
    allows. It is 0.1 for predictions that ignore the picture and 1 for perfect ones, but blind to classes confused
    consistently, so that it can rank settings wrongly. It picks no epoch: the last epoch's weights are kept.

    On the embedded drawings the same network, were it taught with labels of 3,600 other drawings, would reach 0.99.
Ladder
    simple   photographs only, as Canny edges: the sample without its adversary (weight 0.1, in steps of its own).
    medium   domain-adversarial training: a domain classifier behind a reversed gradient, its weight rising slowly.
    strong   the surest predictions on drawings become labels, equally many of each class, more and more of them.
    boss     a mean teacher gives those labels: several networks with averaged weights guess together, while they
             learn from stronger changes, and for longer.
Papers
    Ganin et al., Domain-Adversarial Training (arXiv:1505.07818); Canny, edge detection (IEEE PAMI 8, 1986); Lee,
    Pseudo-Label (ICML workshop 2013); Zou et al., class-balanced self-training (arXiv:1810.07911); Cuturi, Sinkhorn
    Distances (arXiv:1306.0895); Tarvainen & Valpola, Mean Teacher (arXiv:1703.01780); French et al., self-ensembling
    (arXiv:1706.05208).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from labs import COURSE
from labs.adaptation import data
from labs.adaptation.figures import feature_maps
from labs.adaptation.pictures import Pictures, as_input, drawings, photographs, spread
from labs.adaptation.pseudo_labels import IGNORE, balance, balanced_agreement, pseudo_labels
from labs.adaptation.views import random_view, second_view
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.ema import update_ema
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_shape, load_weights, unwrap
from labs.shared.vision.gradient_reversal import Ensemble

METRIC = COURSE["adaptation"].metric
HEADER = ("id", "label")
VALIDATED, MAPPED = 500, 250
"""Drawings that validate; pictures of each domain in the report's figure."""
STAGES = ("early", "middle", "final")
MEAN_TEACHER = {"teacher": 0.98, "members": 3, "augment": 0.2}


class AdaptationConfig(Config):
    edges: bool = True
    """Show the photographs' Canny edges, which look more like drawings, instead of their greys."""
    canny_low: float = Field(170.0, ge=0)
    """Weakest gradient (Sobel, of greys 0 to 255) that continues an edge; no effect without `edges`."""
    canny_high: float = Field(300.0, ge=0)
    """Weakest gradient that starts an edge; no effect without `edges`."""
    width: int = Field(64, ge=4)
    """Channels of the first convolution; all later layers grow with it."""
    members: int = Field(1, ge=1)
    """Networks that learn side by side and guess together."""
    adversarial: float = Field(0.0, ge=0)
    """Largest weight of the reversed gradient of the domain classifier; 0 for none."""
    gamma: float = Field(10.0, gt=0)
    """How fast that weight rises to its largest value; no effect with `adversarial=0`."""
    pseudo_share: float = Field(0.0, ge=0, le=1)
    """Share of the drawings that have a guessed label at the end of the training; 0 for no guessed labels."""
    pseudo_start: float = Field(0.3, ge=0, lt=1)
    """Share of the training before the first guessed labels; no effect with `pseudo_share=0`."""
    teacher: float = Field(0.0, ge=0, lt=1)
    """Decay a step of the averaged weights, which give the guessed labels and are delivered; 0 for the last weights."""
    turn: float = Field(15.0, ge=0)
    """Degrees by which training pictures are turned at most; half of them are mirrored, too."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of zoom, shift and erasure of training pictures; 0 for none, as in the sample."""
    lr: float = Field(1e-3, gt=0)
    """Adam's learning rate."""
    batch_size: int = Field(32, ge=2)
    """Photographs of a global batch, and as many drawings."""
    epochs: int = Field(200, ge=1)
    """Passes over the photographs."""

    @field_validator("canny_high")
    @classmethod
    def _above(cls, high: float, info: ValidationInfo) -> float:
        if high < info.data.get("canny_low", 0.0):
            raise ValueError(f"{high:g} is below canny_low, {info.data['canny_low']:g}")
        return high


def build(config: AdaptationConfig, classes: int) -> Ensemble:
    return Ensemble(config.members, config.width, classes, config.adversarial > 0)


def train(config: AdaptationConfig, run: Run) -> None:
    edges = (config.canny_low, config.canny_high) if config.edges else None
    source, target = photographs(run.data_dir, edges), drawings(run.data_dir)
    classes = shards.manifest(run.data_dir)["facts"]["classes"]
    run.write_shape(classes=classes)
    model = run.wrap(build(config, classes).to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    state: dict[str, Any] = {"model": model, "optimizer": optimizer}
    judge = model
    if config.teacher:  # in the model's place it is validated, labels the drawings and is delivered
        judge = state["teacher"] = build(config, classes).to(memory_format=torch.channels_last).to(run.device).eval()
        judge.load_state_dict(unwrap(model).state_dict())
    source_batches = run.loader(source, config.batch_size, train=True)
    target_batches = run.loader(target, config.batch_size, train=True)
    steps = min(len(source_batches), len(target_batches))

    for epoch in run.epochs(config.epochs, state=state):
        guessed = guess_labels(judge, target, epoch / config.epochs, config, run).to(run.device)
        loss_sum, hits, count = torch.zeros((), device=run.device), torch.zeros((), device=run.device), 0
        pairs = zip(source_batches, target_batches, strict=False)
        for step, ((inputs, labels), (sketches, numbers)) in enumerate(pairs):
            done = (epoch + step / steps) / config.epochs
            images, known = inputs, labels
            if config.adversarial or config.pseudo_share:
                # One batch of both domains, so that they share their batch statistics.
                images, known = torch.cat([inputs, sketches]), torch.cat([labels, guessed[numbers]])
            images = random_view(images, config.turn, config.augment)
            logits, domains = model(images, config.adversarial * rise(done, config.gamma))
            # Drawings without a label count as zero: the surer the predictions, the more the drawings weigh.
            losses = F.cross_entropy(logits.mT, known.expand(config.members, -1), ignore_index=IGNORE, reduction="none")
            loss = losses.sum() / (config.members * len(labels))
            if config.adversarial:
                is_photograph = (torch.arange(len(images), device=run.device) < len(labels)).float()
                loss = loss + F.binary_cross_entropy_with_logits(domains, is_photograph.expand_as(domains))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if config.teacher:
                # Young weights are no use: the average reaches back over the shorter of all steps and its own span.
                update_ema(judge, unwrap(model), min(config.teacher, 1 - 1 / (epoch * steps + step + 1)))
            loss_sum += loss.detach() * len(labels)
            hits += (logits.detach().mean(0)[: len(labels)].argmax(1) == labels).sum()
            count += len(labels)
        run.log({"train/loss": run.mean(loss_sum, count), "train/accuracy": run.mean(hits, count)})
        run.log({"val/accuracy": agreement(judge, target, classes, run)})
        run.keep(judge)
        keep_features(judge, source, target, epoch + 1, config.epochs, run)


def rise(done: float, gamma: float) -> float:
    """The adversary's weight, 0 to 1, when the share `done` of the training is over (Ganin et al., section 5.2)."""
    return 2 / (1 + math.exp(-gamma * done)) - 1


def guess_labels(model: Ensemble, target: Pictures, done: float, config: AdaptationConfig, run: Run) -> torch.Tensor:
    """A label for each drawing (N,): IGNORE where the model is not sure enough; the same on every worker."""
    if not config.pseudo_share or done < config.pseudo_start:
        return torch.full((len(target),), IGNORE)
    with run.evaluation(model) as net:
        own = [net.classify(images).cpu() for images, _ in run.loader(target, 512)]
    parts = run.gather([torch.cat(own)])
    probabilities = torch.empty(len(target), parts[0].shape[1])
    for rank, part in enumerate(parts):
        probabilities[rank :: run.world_size] = part
    grown = (done - config.pseudo_start) / (1 - config.pseudo_start)
    return pseudo_labels(balance(probabilities), config.pseudo_share * (0.5 + 0.5 * grown))


def agreement(model: Ensemble, target: Pictures, classes: int, run: Run) -> float:
    """`balanced_agreement` of the predictions on two views of some drawings."""
    some = spread(target, VALIDATED)
    predictions: list[list[int]] = []
    with run.evaluation(model) as net:
        for images, _ in run.loader(Pictures(target.images[some], some), 512):
            pairs = torch.stack([net.classify(seen).argmax(1) for seen in (images, second_view(images))], 1)
            predictions += pairs.tolist()
    first, second = torch.tensor(run.gather(predictions)).T
    return balanced_agreement(first, second, classes)


def keep_features(model: Ensemble, source: Pictures, target: Pictures, epoch: int, epochs: int, run: Run) -> None:
    """At three epochs, write the first network's features of some pictures to the run's folder, for `deliver`."""
    for stage, at in zip(STAGES, (1, (epochs + 1) // 2, epochs), strict=True):
        if epoch != at:
            continue
        with run.evaluation(model) as net:
            if run.rank == 0:
                (inputs, labels), (sketches, _) = (domain[spread(domain, MAPPED)] for domain in (source, target))
                tensors = {name: net.features(images.to(run.device)).cpu().contiguous()
                           for name, images in (("source", inputs), ("target", sketches))}  # fmt: skip
                save_file({**tensors, "label": labels}, run.file(f"features/{stage}.safetensors"))


def load(folder: Path) -> Ensemble:
    return load_weights(folder, build(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Ensemble, inputs: np.ndarray) -> np.ndarray:
    """(B, 28, 28) uint8 -> (B, classes) probabilities, float32; nothing random is done to a drawing here."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model.classify(as_input(torch.from_numpy(inputs)).to(device)).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "target", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `DaNN_submission.csv` (`id,label`, drawings counted from 0) and, for the report, `features.png`: t-SNE of
    the features early, in the middle and at the end of the training, by class and by domain."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    images = drawings(data_dir).images
    parts = torch.arange(len(images)).split(512)
    predictions = np.concatenate([predict(model, images[part].numpy()).argmax(1) for part in parts])
    submission.write(out / LAB.submission, HEADER, enumerate(predictions))
    stages = {stage: load_file(folder / f"features/{stage}.safetensors") for stage in STAGES}
    figure = feature_maps({stage: {k: v.numpy() for k, v in kept.items()} for stage, kept in stages.items()})
    figure.savefig(out / "features.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    return submission.check(file, HEADER, "<class>", str, submission.class_fault(len(data.CLASSES)))


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    if not (data_dir / data.ANSWERS).exists():
        return {}
    return submission.accuracy(delivered / LAB.submission, data.answers(data_dir), "0")


def space() -> dict[str, dict[str, object]]:
    return {
        "edges": {"type": "choice", "values": [True, False]},
        "canny_low": {"type": "uniform", "low": 40.0, "high": 200.0, "when": {"edges": True}},
        "canny_high": {"type": "uniform", "low": 200.0, "high": 400.0, "when": {"edges": True}},
        "members": {"type": "randint", "low": 1, "high": 4},
        "adversarial": {"type": "loguniform", "low": 0.03, "high": 3.0},
        "gamma": {"type": "loguniform", "low": 2.0, "high": 20.0},
        "pseudo_share": {"type": "uniform", "low": 0.0, "high": 1.0},
        "pseudo_start": {"type": "uniform", "low": 0.1, "high": 0.6},
        "teacher": {"type": "choice", "values": [0.0, 0.9, 0.98, 0.995]},
        "turn": {"type": "uniform", "low": 0.0, "high": 30.0},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.5},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "batch_size": {"type": "choice", "values": [16, 32, 64, 128]},
        "epochs": {"type": "randint", "low": 10, "high": 300},
    }


LAB = Lab(
    heading=COURSE["adaptation"],
    config=AdaptationConfig,
    presets={
        "simple": {},
        "medium": {"adversarial": 0.3},
        "strong": {"adversarial": 0.3, "pseudo_share": 0.8},
        "boss": {"adversarial": 0.3, "pseudo_share": 0.9, "pseudo_start": 0.35, **MEAN_TEACHER},
    },
    sizes={
        "tiny": {"width": 4, "epochs": 3},
        "small": {"width": 16, "epochs": 20, "canny_low": 110, "canny_high": 220},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="DaNN_submission.csv",
    space=space,
    network=lambda config: build(config, len(data.CLASSES)),
    data=data,
    tuned={("boss", "small"): {"epochs": 30, "members": 2}},
    seconds={"tiny": 2, "small": 40, "course": 3600},
)
