"""Homework 10, adversarial attack: changing pictures by at most 8 of 255 levels, so that hidden networks misclassify.

Task
    A black-box, non-targeted attack: the victims, the networks to be misled, can not be queried. The attacker trains
    surrogates, networks of its own, and attacks those; adversarial examples often transfer to other networks.
Data
    `labs.attack.data`: 200 pictures to attack, 20 of each of CIFAR-10's classes, with public labels. The course took
    trained networks from the internet as surrogates; here they are trained on further pictures, or are given. Drawn
    pictures have faint stripes, 6 to 14 levels high, which an attack can change (`labs.attack.drawing`).
Metric
    Accuracy of the victims on the attacked pictures, a fraction, lower is better. The course's public thresholds:
    simple 0.70, medium 0.50, strong 0.30, boss 0.15, for victims that were never published. Ours
    (`labs.attack.victims`) have other architectures than the surrogates and other training pictures; a white-box
    attack, which knows their weights, leaves 0.01.
    `val/accuracy` is that of a validation network in the victims' place: its architecture is neither a victim's nor a
    surrogate's. It is trained beside the surrogates, and of all settings only `epochs` and `batch_size` change its
    training. Use it to choose among the others: a network that is trained less is misled more easily.
Ladder
    simple   the course's sample: one step of the fast gradient sign method (FGSM) on one residual network.
    medium   many small steps (I-FGSM) on an ensemble of two networks of each of the sample's three architectures:
             network in network and two kinds of residual networks. What misleads all of them transfers better.
    strong   momentum (MI-FGSM), and surrogates that are trained adversarially with a small epsilon: these use robust
             features, which are also the victims'.
    boss     five networks of each architecture, and input diversity (DIM): some gradients are computed on pictures that
             are shrunk and padded at random. Here, neither other architectures nor stronger diversity nor smaller steps
             lower the accuracy further.
Report
    (a)  How is the noise made, and which accuracy does it leave?
    (b)  Is a picture of a dog, `dog/dog2.png`, misclassified after FGSM on one residual network, and as which class?
    (c)  Is it after JPEG compression, and why does compression help?
Papers
    Goodfellow et al., FGSM (arXiv:1412.6572); Kurakin et al., I-FGSM (arXiv:1607.02533); Dong et al., momentum and
    ensembles (arXiv:1710.06081); Xie et al., input diversity (arXiv:1803.06978); Springer et al., A Little Robustness
    Goes a Long Way (arXiv:2106.02105).
"""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from labs import COURSE
from labs.attack import data, generate, report, victims
from labs.attack.adversarial_training import random_start_fgsm
from labs.attack.config import EPSILON, AttackConfig
from labs.attack.demo import DEMO
from labs.attack.networks import MEAN, SIDE
from labs.attack.surrogates import (
    VALIDATION_RATE,
    Member,
    Networks,
    build,
    given_names,
    most_residual,
    surrogate_names,
)
from labs.core import shards
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.schedule import warmup_cosine
from labs.core.weights import load_shape, load_weights

METRIC = COURSE["attack"].metric
SAMPLE = ("nin", "residual", "preactivation")
"""Architectures in the ensemble of the course's sample."""
SIX, FIFTEEN = 2 * SAMPLE, 5 * SAMPLE


def input_gradient(surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """grad_x J(x, y), the gradient of the ensemble's loss by the pictures (B, 3, 32, 32).

    The logits of the ensemble are averaged before the softmax (Dong et al., arXiv:1710.06081, section 3.4).
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(surrogates(images).mean(0), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]


def clip(adversarial: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Clip to the epsilon ball, ||x_adv - x||_inf <= epsilon, and to values from 0 to 255."""
    return adversarial.clamp(images - EPSILON, images + EPSILON).clamp(0, 255)


def fgsm(surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The fast gradient sign method, the best attack on a loss that is linear in x (Goodfellow et al.)."""
    # x_adv = x + epsilon * sign(grad_x J(x, y))
    return clip(images + EPSILON * input_gradient(surrogates, images, labels).sign(), images)


def iterative_fgsm(
    config: AttackConfig, surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """I-FGSM, many small steps; with momentum MI-FGSM, with input diversity DIM."""
    mu = config.decay if config.attack == "mi-fgsm" else 0.0
    random = torch.Generator().manual_seed(0)  # on the CPU: the same for all batches, devices and workers
    adversarial, momentum = images, torch.zeros_like(images)
    for _ in range(config.steps):
        # grad_x J(T(x_t), y), where T is the identity or, with probability `diversity`, shrinks and pads
        diverse = nn.Sequential(InputDiversity(config, random), surrogates)
        gradient = input_gradient(diverse, adversarial, labels)
        # g_{t+1} = mu * g_t + grad / ||grad||_1; the mean in place of the sum scales g, and so not its sign
        momentum = mu * momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-20)
        # x_{t+1} = clip(x_t + alpha * sign(g_{t+1}))
        adversarial = clip(adversarial + config.alpha * momentum.sign(), images)
    return adversarial


class InputDiversity(nn.Module):
    """DIM's random transformation of a step: pictures shrunk and padded at random with the mean colour, which the
    networks normalise to 0 (Xie et al., arXiv:1803.06978)."""

    def __init__(self, config: AttackConfig, random: torch.Generator) -> None:
        super().__init__()
        self.applied = torch.rand((), generator=random).item() < config.diversity
        self.side = int(torch.randint(config.smallest_side, SIDE + 1, (), generator=random))
        self.left, self.top = torch.randint(0, SIDE - self.side + 1, (2,), generator=random).tolist()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.applied:
            return images
        mean = 255 * images.new_tensor(MEAN).view(3, 1, 1)
        small, rest = F.interpolate(images, (self.side, self.side), mode="bilinear"), SIDE - self.side
        return F.pad(small - mean, (self.left, rest - self.left, self.top, rest - self.top)) + mean


def attack(config: AttackConfig, surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Pictures (B, 3, 32, 32) uint8 and labels (B,) -> adversarial examples, uint8, within epsilon of the pictures."""
    method = fgsm if config.attack == "fgsm" else partial(iterative_fgsm, config)
    return method(surrogates, images.float(), labels).round().byte()


def train(config: AttackConfig, run: Run) -> None:
    attacked = shards.ArrowDataset(run.data_dir, "attack", ("image", "label"))
    given, networks = given_names(run.data_dir), build(config, run.data_dir)
    run.write_shape(given=given)
    model = run.wrap(networks)
    groups = [{"params": part.parameters()} for part in (networks.surrogates, networks.validation_network)]
    optimizer = torch.optim.AdamW(groups, weight_decay=victims.WEIGHT_DECAY)
    # Surrogates that came trained are not trained further: one epoch without batches attacks with them.
    training = None if given else shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    batches: Any = run.loader(training, config.batch_size, train=True) if training else ()
    epochs = config.epochs if training else 1

    for epoch in run.epochs(epochs, state={"model": model, "optimizer": optimizer}):
        meter = Meter()
        for step, (images, labels) in enumerate(batches):
            # Set the learning rates: warm-up, then a cosine
            for group, peak in zip(optimizer.param_groups, (config.lr, VALIDATION_RATE), strict=True):
                group["lr"] = peak * warmup_cosine((epoch + step / len(batches)) / config.epochs)

            # Adversarial training of the surrogates: their input is attacked first
            images = images.float()
            surrogate_images = images
            if config.training_epsilon:
                surrogate_images = random_start_fgsm(networks.surrogates, images, labels, config.training_epsilon)

            # Loss: summed over the networks, so that each learns as if it were trained alone
            all_logits = model(surrogate_images, images)
            loss = torch.stack([F.cross_entropy(logits, labels) for logits in all_logits]).sum()

            # Step of all networks
            optimizer.zero_grad()
            run.backward(loss)
            run.step(optimizer)
            meter.add(loss / len(all_logits), len(images))

        # Log the mean over networks and workers, validate, and keep the present weights
        if training:
            run.log({"train/loss": run.mean(meter.sum, meter.count)})
        if (epoch + 1) % config.validate_every == 0 or epoch + 1 == epochs:
            run.log(validate(config, model, attacked, run))
        run.keep(model)


def validate(config: AttackConfig, model: Networks, attacked: Dataset, run: Run) -> dict[str, float]:
    """The validation network's accuracy on the attacked pictures, on these after JPEG compression, and on the benign
    ones."""
    meters = {name: Meter() for name in ("val/accuracy", "val/accuracy_jpeg", "val/benign")}
    with run.evaluation(model) as net:
        for images, labels in run.loader(attacked, 256):
            adversarial = attack(config, net.surrogates, images, labels)
            compressed = torch.from_numpy(victims.jpeg(adversarial.cpu().numpy())).to(run.device)
            for meter, inputs in zip(meters.values(), (adversarial, compressed, images), strict=True):
                correct = net.validation_network(inputs.float())[0].argmax(1) == labels
                meter.add(correct.double().mean(), len(labels))
    return {name: run.mean(meter.sum, meter.count) for name, meter in meters.items()}


def load(folder: Path) -> Networks:
    return load_weights(folder, Networks(LAB.read_config(folder), tuple(load_shape(folder)["given"])))


def predict(model: Networks, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, 32, 32) uint8 -> (B, classes) class probabilities of the surrogates' ensemble, float32."""
    return probabilities(model.surrogates, inputs)


def probabilities(ensemble: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, 32, 32) uint8 -> (B, classes), by the mean of the ensemble's logits."""
    device = next(ensemble.parameters()).device
    with torch.no_grad():
        logits = ensemble(torch.from_numpy(inputs).to(device).float()).mean(0)
    output: np.ndarray = logits.softmax(1).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "attack", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.tgz`, the attacked pictures under their own names, and the report."""
    config, device = LAB.read_config(folder), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load(folder).to(device)
    facts = shards.manifest(data_dir)["facts"]
    names = facts["names"]
    attacked = shards.ArrowDataset(data_dir, "attack", ("image", "label"))
    batches = [tuple(column.to(device) for column in attacked[rows]) for rows in torch.arange(len(attacked)).split(256)]
    adversarial = torch.cat([attack(config, model.surrogates, images, labels).cpu() for images, labels in batches])
    out.mkdir(parents=True, exist_ok=True)
    data.write_archive(out / LAB.submission, names, adversarial.numpy())
    data.read_submission(out / LAB.submission, data_dir, EPSILON)  # raises an error if epsilon is exceeded
    row = names.index("dog/dog2.png" if "dog/dog2.png" in names else "dog/dog1.png")
    image, label = (column.to(device) for column in attacked[torch.tensor([row])])
    network = Member(model.surrogates, most_residual(surrogate_names(config, facts)))
    changed = fgsm(network, image.float(), label).round().byte().cpu().numpy()
    dog = report.Dog(names[row], image.cpu().numpy(), changed, partial(probabilities, network))
    benign, labels = (torch.cat(column).cpu().numpy() for column in zip(*batches, strict=True))
    report.write(LAB, folder, out, partial(predict, model), (benign, adversarial.numpy(), labels), dog, facts)


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Mean accuracies of the victims: `test/accuracy` without defence, `test/accuracy_jpeg` with JPEG compression,
    `test/accuracy_robust` with adversarial training; `test/trivial` is that on the benign pictures. `victims.csv`,
    beside the submission, has each victim's."""
    weights = data_dir / data.VICTIMS
    if not weights.exists():
        return {}
    benign, adversarial, labels = data.read_submission(delivered / LAB.submission, data_dir, EPSILON)
    results = victims.evaluate_victims(weights, benign, adversarial, labels)
    with (delivered / "victims.csv").open("w", newline="") as file:
        csv.writer(file).writerows([victims.VictimResult._fields, *results])
    return victims.mean_accuracies(results)


def space() -> dict[str, dict[str, object]]:
    iterative = {"attack": "mi-fgsm"}
    return {  # without epochs and batch_size, which train the validation network as well
        "surrogates": {"type": "choice", "values": [["residual"], ["nin", "plain", "dense"], list(SAMPLE),
                                                    [*SAMPLE, "plain", "dense", "mixer"], list(SIX)]},
        "attack": {"type": "choice", "values": ["fgsm", "i-fgsm", "mi-fgsm"]},
        "steps": {"type": "randint", "low": 5, "high": 31, "when": iterative},
        "alpha": {"type": "loguniform", "low": 0.4, "high": 4.0, "when": iterative},
        "decay": {"type": "uniform", "low": 0.0, "high": 1.5, "when": iterative},
        "diversity": {"type": "uniform", "low": 0.0, "high": 1.0, "when": iterative},
        "smallest_side": {"type": "randint", "low": 20, "high": 32, "when": iterative},
        "training_epsilon": {"type": "uniform", "low": 0.0, "high": 3.0},
        "lr": {"type": "loguniform", "low": 1e-3, "high": 3e-2},
    }  # fmt: skip


LAB = Lab(
    heading=COURSE["attack"],
    config=AttackConfig,
    presets={
        "simple": {},
        "medium": {"attack": "i-fgsm", "surrogates": SIX},
        "strong": {"attack": "mi-fgsm", "surrogates": SIX, "training_epsilon": 1.0},
        "boss": {"attack": "mi-fgsm", "surrogates": FIFTEEN, "training_epsilon": 1.0, "diversity": 0.5},
    },
    sizes={
        "tiny": {"depth": 1, "stride": 2, "width": 8, "steps": 4, "alpha": 4.0, "epochs": 3, "validate_every": 2},
        "small": {"depth": 1, "stride": 2, "alpha": 1.6, "epochs": 16, "validate_every": 8},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    demo=DEMO,
    deliver=deliver,
    check_submission=data.check_archive,
    score=score,
    submission="submission.tgz",
    space=space,
    network=lambda config: Networks(config).surrogates,
    data=generate,
    # The networks of the sample's ensemble have depth 3 (ResNet-20); only its single network has 110 layers.
    tuned={(preset, "course"): {"depth": 3} for preset in ("medium", "strong", "boss")},
    seconds={"tiny": 2, "small": 30, "course": 3600},
)
