"""Homework 11, domain adaptation: classify drawings with labels of photographs only.

Task
    Ten classes of objects. Images of the source domain (photographs) have labels, images of the target domain
    (drawings) have none. No pre-trained weights and no further data are allowed.
Data
    `labs.adaptation.data`: 5,000 photographs, RGB, 32 x 32; 100,000 drawings, grey, 28 x 28, evenly spread over
    the classes.
Metric
    Accuracy on the drawings, higher is better. Course's public thresholds: simple 0.44616, medium 0.64576,
    strong 0.75840, boss 0.80640.

    The drawings have no labels, so the accuracy on them cannot be validated. The accuracy on photographs is no
    substitute: it saturates while the accuracy on drawings still rises. `val/accuracy` is a proxy that needs no labels:
    the fraction of drawings that get the same prediction for the original as for a mirrored, rotated and shrunk view,
    where a class of N / C drawings counts at most N / C times. It is 0.1 for constant predictions and 1 for perfect
    ones, but it does not see two classes that are confused consistently, so it can rank two settings wrongly. It
    selects no epoch: the weights of the last epoch are kept.

    An upper bound on the embedded data is 0.99, the accuracy of the same network trained on 3,600 labelled drawings.
Ladder
    simple   the course's sample code: domain-adversarial training (DaNN) on Canny edges with a constant weight of 0.1.
             The sample takes a step of its domain classifier before each step of the others; here one step with a
             gradient reversal layer updates all three.
    medium   a larger weight, which rises during the training.
    strong   self-training: the most confident predictions on drawings become pseudo-labels, equally many of each class,
             and more of them as the training goes on.
    boss     mean teacher: an ensemble with EMA weights predicts the pseudo-labels, the students train on stronger
             augmentation, and for longer.
Beyond
    `source-only`: no domain classifier, so that the drawings are not used at all.
    `mcd`: maximum classifier discrepancy, without a domain classifier: two label predictors learn to disagree on
    drawings that are unlike the photographs, and the feature extractor to make them agree (`labs.adaptation.mcd`).
Report
    (a)  How do the features of photographs lie by class, early, in the middle and at the end of the training?
    (b)  How do the features of photographs and of drawings lie at these stages?
Papers
    Ganin et al., Domain-Adversarial Training (arXiv:1505.07818); Canny, edge detection (IEEE PAMI 8, 1986); Lee,
    Pseudo-Label (ICML workshop 2013); Zou et al., class-balanced self-training (arXiv:1810.07911); Cuturi, Sinkhorn
    Distances (arXiv:1306.0895); Tarvainen & Valpola, Mean Teacher (arXiv:1703.01780); French et al., self-ensembling
    (arXiv:1706.05208); Saito et al., Maximum Classifier Discrepancy (arXiv:1712.02560).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from labs import COURSE
from labs.adaptation import data, mcd, report
from labs.adaptation.config import AdaptationConfig
from labs.adaptation.demo import DEMO
from labs.adaptation.domains import Images, as_input, drawings, photographs
from labs.adaptation.figures import save_features, stages_at
from labs.adaptation.networks import DiscrepancyNet, Ensemble
from labs.adaptation.pseudo_labels import IGNORE, pseudo_labels, sinkhorn
from labs.adaptation.validation import VALIDATION_BATCH, view_agreement
from labs.adaptation.views import random_view
from labs.core import shards, submission
from labs.core.ema import update_ema
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import load_shape, load_weights, unwrap

HEADER = ("id", "label")
MEAN_TEACHER = {"ema_decay": 0.98, "members": 3, "augment": 0.2}


def build(config: AdaptationConfig, classes: int) -> Ensemble | DiscrepancyNet:
    if config.discrepancy_steps:
        return DiscrepancyNet(config.width, classes)
    return Ensemble(config.members, config.width, classes, config.adversarial > 0)


def train(config: AdaptationConfig, run: Run) -> None:
    if config.discrepancy_steps:
        return mcd.train(config, run)
    thresholds = (config.canny_low, config.canny_high) if config.edges else None
    source, target = photographs(run.data_dir, thresholds), drawings(run.data_dir)
    classes = shards.manifest(run.data_dir)["facts"]["classes"]
    run.write_shape(classes=classes)
    model = run.wrap(build(config, classes).to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    state: dict[str, Any] = {"model": model, "optimizer": optimizer}
    teacher = model  # predicts the pseudo-labels, is validated and delivered: the model itself without EMA weights
    if config.ema_decay:
        teacher = state["teacher"] = build(config, classes).to(memory_format=torch.channels_last).to(run.device).eval()
        teacher.load_state_dict(unwrap(model).state_dict())
    source_batches = run.loader(source, config.batch_size, train=True)
    target_batches = run.loader(target, config.batch_size, train=True)
    steps = min(len(source_batches), len(target_batches))

    for epoch in run.epochs(config.epochs, state=state):
        # Pseudo-labels of all drawings, IGNORE for those that have none yet.
        drawing_labels = predict_pseudo_labels(teacher, target, epoch / config.epochs, config, run).to(run.device)
        train_loss, correct = Meter(), Meter()
        batches = zip(source_batches, target_batches, strict=False)
        for step, ((photos, photo_labels), (sketches, indices)) in enumerate(batches):
            # 1. Photographs and drawings in one batch, so that batch norm normalises both domains alike.
            images, labels = photos, photo_labels
            if config.adversarial or config.pseudo_fraction:
                images = torch.cat([photos, sketches])
                labels = torch.cat([photo_labels, drawing_labels[indices]])
            # 2. Augmentation.
            images = random_view(images, config.rotation, config.augment)
            # 3. Forward pass of every member; the gradient of the domain logits is reversed and weighted by lambda.
            progress = (epoch + step / steps) / config.epochs
            logits, domains = model(images, config.adversarial * lambda_schedule(progress, config.gamma))
            # 4. Label loss: L_y = 1/n sum_i CE(y_i, p_i) over n photographs and the drawings with a pseudo-label. As n
            #    does not count the drawings, their weight grows with the number of pseudo-labels.
            targets = labels.expand(config.members, -1)
            cross_entropy = F.cross_entropy(logits.mT, targets, ignore_index=IGNORE, reduction="none")
            loss = cross_entropy.sum() / (config.members * len(photo_labels))
            # 5. Domain loss: L = L_y + L_d. The domain classifier minimises L_d; through the reversed gradient the
            #    feature extractor minimises L_y - lambda L_d.
            if config.adversarial:
                is_source = (torch.arange(len(images), device=run.device) < len(photo_labels)).float()
                loss = loss + F.binary_cross_entropy_with_logits(domains, is_source.expand_as(domains))
            # 6. Optimizer step.
            optimizer.zero_grad()
            run.backward(loss)
            run.step(optimizer)
            # 7. Teacher: theta' = a theta' + (1 - a) theta (Tarvainen & Valpola, eq. 1). In the first steps a is
            #    smaller than the decay, so that theta' is the mean of all weights so far.
            if config.ema_decay:
                update_ema(teacher, unwrap(model), min(config.ema_decay, 1 - 1 / (epoch * steps + step + 1)))
            train_loss.add(loss, len(photo_labels))
            photo_predictions = logits.detach().mean(0)[: len(photo_labels)].argmax(1)
            correct.add_sum((photo_predictions == photo_labels).sum(), len(photo_labels))
        run.log({"train/loss": run.mean(train_loss.sum, train_loss.count)})
        run.log({"train/accuracy": run.mean(correct.sum, correct.count)})
        run.log({"val/accuracy": view_agreement(teacher, target, classes, run)})
        run.keep(teacher)
        save_features(teacher, source, target, stages_at(epoch + 1, config.epochs), config.plotted, run)


def lambda_schedule(progress: float, gamma: float) -> float:
    """Factor of lambda, 0 to 1, after the fraction `progress` of the training (Ganin et al., section 5.2.2); 1 for a
    gamma of 0."""
    if gamma == 0:
        return 1.0
    return 2 / (1 + math.exp(-gamma * progress)) - 1  # lambda_p = 2 / (1 + exp(-gamma p)) - 1


def predict_pseudo_labels(
    model: Ensemble | DiscrepancyNet, target: Images, progress: float, config: AdaptationConfig, run: Run
) -> torch.Tensor:
    """A label for each drawing (N,), the same on every worker; IGNORE where the model is not confident enough.

    The fraction of labelled drawings grows linearly from a half of `pseudo_fraction` at `pseudo_start` to all of it.
    """
    if not config.pseudo_fraction or progress < config.pseudo_start:
        return torch.full((len(target),), IGNORE)
    with run.evaluation(model) as net:
        own = [net.classify(images).cpu() for images, _ in run.loader(target, VALIDATION_BATCH)]
    parts = run.gather([torch.cat(own)])
    probabilities = torch.empty(len(target), parts[0].shape[1])
    for rank, part in enumerate(parts):  # worker r has classified drawings r, r + N, r + 2N, ...
        probabilities[rank :: run.world_size] = part
    growth = (progress - config.pseudo_start) / (1 - config.pseudo_start)
    return pseudo_labels(sinkhorn(probabilities), config.pseudo_fraction * (0.5 + 0.5 * growth))


def load(folder: Path) -> Ensemble | DiscrepancyNet:
    return load_weights(folder, build(LAB.read_config(folder), load_shape(folder)["classes"]))


def predict(model: Ensemble | DiscrepancyNet, inputs: np.ndarray) -> np.ndarray:
    """(B, 28, 28) uint8 -> (B, classes) probabilities, float32, without augmentation."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model.classify(as_input(torch.from_numpy(inputs)).to(device)).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "target", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `DaNN_submission.csv` (`id,label`, ids from 0) and the report."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    images = drawings(data_dir).images
    parts = torch.arange(len(images)).split(512)
    predictions = np.concatenate([predict(model, images[part].numpy()).argmax(1) for part in parts])
    submission.write(out / LAB.submission, HEADER, enumerate(predictions))
    report.write(LAB, folder, out)


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
        "pseudo_fraction": {"type": "uniform", "low": 0.0, "high": 1.0},
        "pseudo_start": {"type": "uniform", "low": 0.1, "high": 0.6},
        "ema_decay": {"type": "choice", "values": [0.0, 0.9, 0.98, 0.995]},
        "rotation": {"type": "uniform", "low": 0.0, "high": 30.0},
        "augment": {"type": "uniform", "low": 0.0, "high": 1.5},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2},
        "batch_size": {"type": "choice", "values": [16, 32, 64, 128]},
        "epochs": {"type": "randint", "low": 10, "high": 300},
    }


LAB = Lab(
    heading=COURSE["adaptation"],
    config=AdaptationConfig,
    presets={
        "simple": {"adversarial": 0.1, "gamma": 0.0},
        "medium": {"adversarial": 0.3},
        "strong": {"adversarial": 0.3, "pseudo_fraction": 0.8},
        "boss": {"adversarial": 0.3, "pseudo_fraction": 0.9, "pseudo_start": 0.35, **MEAN_TEACHER},
        "source-only": {},
        "mcd": {"discrepancy_steps": 4},
    },
    sizes={
        "tiny": {"width": 4, "epochs": 3, "plotted": 250},
        "small": {"width": 16, "epochs": 20, "plotted": 250},
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
    submission="DaNN_submission.csv",
    space=space,
    network=lambda config: build(config, len(data.CLASSES)),
    data=data,
    tuned={
        ("boss", "small"): {"epochs": 30, "members": 2},
        # Four steps, as in the paper, take twice the time and reach the same accuracy (one seed).
        ("mcd", "small"): {"discrepancy_steps": 1},
    },
    seconds={"tiny": 2, "small": 40, "course": 3600},
)
