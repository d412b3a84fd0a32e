"""Homework 10, adversarial attack: pictures changed by at most 8 of 255 levels, so that hidden networks go wrong.

Task
    A black-box, non-targeted attack: the networks to fool, the victims, can't be asked anything. The attacker trains
    networks of its own, the surrogates, fools those, and hopes that the change transfers.
Data
    `labs.attack.data`: 200 pictures to attack, 20 of each of CIFAR-10's classes, with public labels; beside them
    pictures to train surrogates on, where the course took networks from the internet.
Metric
    Accuracy of the victims on the attacked pictures, a share, lower is better. Course's public thresholds: simple 0.70,
    medium 0.50, strong 0.30, boss 0.15, for victims that were never published. Ours (`labs.attack.victims`) are of
    other families than the surrogates and learnt from other pictures; an attack that knows their weights leaves 0.01.
    While training, `val/accuracy` is that of a stand-in for them: one more network, of a family that is neither theirs
    nor a surrogate's, trained along by a recipe that no setting changes. Choose by that.
Ladder
    simple   the course's sample: one step of the fast gradient sign method (FGSM) on one residual network.
    medium   many small steps (I-FGSM) on an ensemble of the sample's three kinds, network in network and two kinds of
             residual networks, two of each: what fools several networks is less each one's own.
    strong   the steps gather momentum (MI-FGSM), and the networks are well chosen: trained on slightly attacked
             pictures, they learn what others learn too.
    boss     five networks of each kind, and some steps look at pictures shrunk and shifted at random (DIM). Here kinds
             beyond these add nothing, and neither do stronger views or smaller steps.
Papers
    Goodfellow et al., FGSM (arXiv:1412.6572); Kurakin et al., I-FGSM (arXiv:1607.02533); Dong et al., momentum and
    ensembles (arXiv:1710.06081); Xie et al., input diversity (arXiv:1803.06978); Springer et al., A Little Robustness
    Goes a Long Way (arXiv:2106.02105).
"""

import csv
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from labs import COURSE
from labs.attack import data, victims
from labs.attack.adversarial_training import harden
from labs.attack.figures import steps_of_defence
from labs.attack.surrogates import MEAN, SIDE, Ensemble
from labs.core import shards
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.schedule import warmup_cosine
from labs.core.weights import load_weights

METRIC = COURSE["attack"].metric
EPSILON = 8
"""Largest change of a pixel's channel, of 255; more is an error of submission."""
STAND_IN, STAND_IN_RATE = "separable", 1e-2
"""Family of the network that validation attacks in place of the victims, and its learning rate."""
SAMPLE = ("nin", "residual", "preactivation")
"""Kinds of networks in the ensemble of the course's sample."""
SIX, FIFTEEN = 2 * SAMPLE, 5 * SAMPLE
Family = Literal["residual", "preactivation", "nin", "plain", "dense", "mixer"]


class AttackConfig(Config):
    surrogates: tuple[Family, ...] = Field(("residual",), min_length=1)
    """Families of the networks to attack; one named twice has two networks, from different first weights."""
    width: int = Field(16, ge=8, multiple_of=8)
    """Channels of a surrogate's first stage; the later ones have two and four times as many."""
    depth: int = Field(18, ge=1)
    """Blocks of each of a surrogate's three stages."""
    stride: Literal[1, 2] = 1
    """Pixels between two places of a network's first layer and first stage; 2 is ten times faster."""
    attack: Literal["fgsm", "i-fgsm", "mi-fgsm"] = "fgsm"
    """One step; many small ones; many with momentum."""
    steps: int = Field(20, ge=1)
    """Steps of an attack; no effect with `attack=fgsm`."""
    alpha: float = Field(0.8, gt=0, le=EPSILON)
    """Length of a step, of 255 levels; no effect with `attack=fgsm`, whose step is 8."""
    decay: float = Field(1.0, ge=0)
    """What remains of the gathered slopes at each step; no effect but with `attack=mi-fgsm`."""
    diversity: float = Field(0.0, ge=0, le=1)
    """Probability that a step looks at pictures shrunk and padded with zeros; no effect with `attack=fgsm`."""
    smallest: int = Field(28, ge=8, le=SIDE)
    """Smallest side, in pixels, that pictures are shrunk to; no effect with `diversity=0`."""
    lr: float = Field(1e-2, gt=0)
    """Highest learning rate of the surrogates."""
    robust: float = Field(0.0, ge=0, le=EPSILON)
    """Levels by which pictures are attacked in the surrogates' own, adversarial, training; 0 for none."""
    batch_size: int = Field(64, ge=1)
    """Pictures of a global batch."""
    epochs: int = Field(30, ge=1)
    """Passes over the surrogates' pictures."""
    validate_every: int = Field(5, ge=1)
    """Epochs from one try of the attack on the stand-in to the next; the last epoch always has one."""


class Networks(nn.Module):
    """The surrogates and the stand-in, each shown pictures (B, 3, 32, 32) -> (surrogates + 1, B, classes) logits."""

    def __init__(self, config: AttackConfig) -> None:
        super().__init__()
        self.surrogates = Ensemble(config.surrogates, config.width, config.depth, config.stride)
        self.stand_in = Ensemble((STAND_IN,), victims.WIDTH, victims.DEPTH, config.stride)

    def forward(self, seen: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.surrogates(seen), self.stand_in(images)])


def slope(surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gradient, by the pictures, of the ensemble's loss; its logits are averaged before the softmax (Dong et al.)."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(surrogates(images).mean(0), labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]


def clip(adversarial: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The nearest pictures within epsilon of the original ones and between black and white."""
    return adversarial.clamp(images - EPSILON, images + EPSILON).clamp(0, 255)


def fgsm(surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each value goes up or down by epsilon, whichever raises the loss: best, were the loss a plane."""
    return clip(images + EPSILON * slope(surrogates, images, labels).sign(), images)


def iterated(config: AttackConfig, surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """I-FGSM: small steps, so that the loss may bend; with momentum MI-FGSM, with random views DIM."""
    decay = config.decay if config.attack == "mi-fgsm" else 0.0
    draws = torch.Generator().manual_seed(0)  # on the CPU, and the same for every batch, device and worker
    adversarial, velocity = images, torch.zeros_like(images)
    for _ in range(config.steps):
        seen = nn.Sequential(RandomView(config, draws), surrogates)
        step = slope(seen, adversarial, labels)
        # Slopes shrink or grow on the way: divided by their size, all steps count alike in the momentum.
        velocity = decay * velocity + step / step.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-20)
        adversarial = clip(adversarial + config.alpha * velocity.sign(), images)
    return adversarial


class RandomView(nn.Module):
    """Pictures shrunk, at a random place on the mean colour, which is 0 to the networks; or, by chance, unchanged."""

    def __init__(self, config: AttackConfig, draws: torch.Generator) -> None:
        super().__init__()
        self.changes = torch.rand((), generator=draws).item() < config.diversity
        self.side = int(torch.randint(config.smallest, SIDE + 1, (), generator=draws))
        self.left, self.top = torch.randint(0, SIDE - self.side + 1, (2,), generator=draws).tolist()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.changes:
            return images
        grey = 255 * images.new_tensor(MEAN).view(3, 1, 1)
        small, rest = F.interpolate(images, (self.side, self.side), mode="bilinear"), SIDE - self.side
        return F.pad(small - grey, (self.left, rest - self.left, self.top, rest - self.top)) + grey


def attack(config: AttackConfig, surrogates: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B, 3, 32, 32) uint8 pictures and (B,) labels -> attacked pictures, uint8, within epsilon of those."""
    method = fgsm if config.attack == "fgsm" else partial(iterated, config)
    return method(surrogates, images.float(), labels).round().byte()


def train(config: AttackConfig, run: Run) -> None:
    training = shards.ArrowDataset(run.data_dir, "train", ("image", "label"))
    targets = shards.ArrowDataset(run.data_dir, "attack", ("image", "label"))
    networks = Networks(config)
    model = run.wrap(networks)
    groups = [{"params": part.parameters()} for part in (networks.surrogates, networks.stand_in)]
    optimizer = torch.optim.AdamW(groups, weight_decay=victims.WEIGHT_DECAY)
    batches = run.loader(training, config.batch_size, train=True)
    for epoch in run.epochs(config.epochs, state={"model": model, "optimizer": optimizer}):
        loss_sum, count = torch.zeros((), device=run.device), 0
        for step, (images, labels) in enumerate(batches):
            for group, highest in zip(optimizer.param_groups, (config.lr, STAND_IN_RATE), strict=True):
                group["lr"] = highest * warmup_cosine((epoch + step / len(batches)) / config.epochs)
            images = images.float()
            seen = harden(networks.surrogates, images, labels, config.robust) if config.robust else images
            logits = model(seen, images)
            # A sum over networks: each learns as if it were alone.
            loss = torch.stack([F.cross_entropy(guess, labels) for guess in logits]).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() / len(logits) * len(images)
            count += len(images)
        run.log({"train/loss": run.mean(loss_sum, count)})
        if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
            run.log(validate(config, model, targets, run))
        run.keep(model)


def validate(config: AttackConfig, model: Networks, targets: Dataset, run: Run) -> dict[str, float]:
    """Accuracy of the stand-in on the attacked pictures, also behind JPEG, and on the pictures as they were."""
    hits, count = torch.zeros(3, device=run.device), 0
    with run.evaluation(model) as net:
        for images, labels in run.loader(targets, 256):
            adversarial = attack(config, net.surrogates, images, labels)
            compressed = torch.from_numpy(victims.jpeg(adversarial.cpu().numpy())).to(run.device)
            for number, seen in enumerate((adversarial, compressed, images)):
                hits[number] += (net.stand_in(seen.float())[0].argmax(1) == labels).sum()
            count += len(labels)
    shares = [run.mean(part, count) for part in hits]
    return dict(zip(("val/accuracy", "val/accuracy_jpeg", "val/benign"), shares, strict=True))


def load(folder: Path) -> Networks:
    return load_weights(folder, Networks(LAB.read_config(folder)))


def predict(model: Networks, inputs: np.ndarray) -> np.ndarray:
    """(B, 3, 32, 32) uint8 -> (B, classes) probabilities of the surrogates' ensemble, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model.surrogates(torch.from_numpy(inputs).to(device).float()).mean(0)
    output: np.ndarray = logits.softmax(1).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "attack", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `submission.tgz`, the attacked pictures under their own names, and, for the report questions, `dog2.png`:
    a picture as it was, attacked by FGSM, and then compressed, with what the surrogates see in each."""
    config, device = LAB.read_config(folder), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load(folder).to(device)
    names = shards.manifest(data_dir)["facts"]["names"]
    targets = shards.ArrowDataset(data_dir, "attack", ("image", "label"))
    parts = [tuple(t.to(device) for t in targets[rows]) for rows in torch.arange(len(targets)).split(256)]
    adversarial = torch.cat([attack(config, model.surrogates, *part).cpu() for part in parts])
    out.mkdir(parents=True, exist_ok=True)
    data.write_archive(out / LAB.submission, names, adversarial.numpy())
    data.submitted(out / LAB.submission, data_dir, EPSILON)
    which = names.index("dog/dog2.png" if "dog/dog2.png" in names else "dog/dog1.png")
    image, label = (part.to(device) for part in targets[torch.tensor([which])])
    changed = fgsm(model.surrogates, image.float(), label).round().byte().cpu().numpy()
    figure = steps_of_defence(image.cpu().numpy(), changed, lambda images: predict(model, images))
    figure.savefig(out / "dog2.png", dpi=100, bbox_inches="tight")


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """Mean accuracies of the victims: `test/accuracy` without defence, behind JPEG, and trained adversarially;
    `test/trivial` is that on the pictures as they were. `victims.csv`, beside the submission, has each victim's."""
    if not (judges := data_dir / data.VICTIMS).exists():
        return {}
    rows = victims.judge(judges, *data.submitted(delivered / LAB.submission, data_dir, EPSILON))
    with (delivered / "victims.csv").open("w", newline="") as file:
        csv.writer(file).writerows([victims.Judged._fields, *rows])
    return victims.means(rows)


def space() -> dict[str, dict[str, object]]:
    steps = {"attack": "mi-fgsm"}
    return {
        "surrogates": {"type": "choice", "values": [["residual"], ["nin", "plain", "dense"], list(SAMPLE),
                                                    [*SAMPLE, "plain", "dense", "mixer"], list(SIX)]},
        "attack": {"type": "choice", "values": ["fgsm", "i-fgsm", "mi-fgsm"]},
        "steps": {"type": "randint", "low": 5, "high": 31, "when": steps},
        "alpha": {"type": "loguniform", "low": 0.4, "high": 4.0, "when": steps},
        "decay": {"type": "uniform", "low": 0.0, "high": 1.5, "when": steps},
        "diversity": {"type": "uniform", "low": 0.0, "high": 1.0, "when": steps},
        "smallest": {"type": "randint", "low": 20, "high": 32, "when": steps},
        "robust": {"type": "uniform", "low": 0.0, "high": 3.0},
        "lr": {"type": "loguniform", "low": 1e-3, "high": 3e-2},
        "epochs": {"type": "randint", "low": 3, "high": 30},
    }  # fmt: skip


LAB = Lab(
    heading=COURSE["attack"],
    config=AttackConfig,
    presets={
        "simple": {},
        "medium": {"attack": "i-fgsm", "surrogates": SIX},
        "strong": {"attack": "mi-fgsm", "surrogates": SIX, "robust": 1.0},
        "boss": {"attack": "mi-fgsm", "surrogates": FIFTEEN, "robust": 1.0, "diversity": 0.5},
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
    deliver=deliver,
    check_submission=data.check_archive,
    score=score,
    submission="submission.tgz",
    space=space,
    network=lambda config: Networks(config).surrogates,
    data=data,
    # The sample's ensemble is of depth 3 (ResNet-20); only its single network is the one of 110 layers.
    tuned={(preset, "course"): {"depth": 3} for preset in ("medium", "strong", "boss")},
    seconds={"tiny": 2, "small": 30, "course": 3600},
)
