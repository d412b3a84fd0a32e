"""Homework 8, anomaly detection: how unlike the normal faces a picture is.

Task
    Learn normal faces alone; then give each picture a score, higher for anomalies.
Data
    `labs.anomaly.data`: 100,000 normal faces to learn from, 19,636 to judge, RGB, 64 x 64; about half of these are no
    normal faces. Drawn data have other styles of faces (near), pictures that are no faces (far), and faces with
    mirrored, swapped, covered or miscoloured parts (subtle); `test/auc-<kind>` is against all normal faces.
Metric
    Area under the ROC curve, higher is better, 0.5 for chance. Course's public thresholds (a student's copy): simple
    0.52970, medium 0.72895, strong 0.77196, boss 0.79506.

    No anomaly has a label, so `val/auc` is a stand-in: held-out normal faces against the same, damaged. It picks no
    epoch: the last epoch's weights are kept, as in the sample. `val/mse` is the reconstruction error of those normal
    faces. The two need not agree: medium rebuilds normal faces better than strong and detects less, and with PCA on the
    drawn faces, 1000 numbers instead of 32 take the error from .060 to .017 and miscoloured faces from .88 to .78.
Ladder
    simple   the sample's fully connected autoencoder, three numbers in the middle; score: the reconstruction's error.
    medium   convolutions, and as many numbers in the middle as let faces through but not everything.
    strong   a multi-encoder autoencoder: fully connected, convolutional and residual codes, added, into one decoder.
             The encoders see faces under smooth noise, which has to be gone from what they make of them (Kascenas).
    boss     a noise branch: the decoder draws random codes as well, and a discriminator tells all that it draws from
             pictures. Score: the place where picture and reconstruction differ more than normal faces do there, in
             values and in the discriminator's first features (f-AnoGAN, and PaDiM's comparison by place).
    At size small, on one seed, what boss gains is its score's: strong's network scored by place has .89, boss .87.
Beyond
    `variational=true`: a VAE, whose divergence is weighed like the error, by pixel; the sample adds a sum to a mean, so
    that the divergence wins. `score=latent` then judges by the divergence of the code alone.
Papers
    Kingma & Welling, VAE (arXiv:1312.6114); Larsen et al., VAE/GAN (arXiv:1512.09300); Schlegl et al., f-AnoGAN
    (Medical Image Analysis 54, 2019); Kascenas et al., Denoising Autoencoders for Anomaly Detection (MIDL 2022);
    Defard et al., PaDiM (arXiv:2011.08785); Sonderby et al., instance noise (arXiv:1610.04490); Li et al., CutPaste
    (arXiv:2104.04015).
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import nn
from torch.nn import functional as F

from labs import COURSE
from labs.anomaly import data
from labs.anomaly.autoencoder import SIDE, Autoencoder, Discriminator, kl_divergence, with_smooth_noise
from labs.anomaly.figures import report
from labs.anomaly.local_score import Usual, energies
from labs.anomaly.synthetic_anomalies import Normal, as_input, damaged
from labs.core import shards, submission
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_weights, unwrap
from labs.shared.vision.avatars import CHANGES

METRIC = COURSE["anomaly"].metric
HEADER = ("ID", "score")
HELD_OUT = 500
"""Normal faces that validate, at most a tenth of all."""


class AnomalyConfig(Config):
    encoders: tuple[Literal["fcn", "conv", "resnet"], ...] = Field(("fcn",), min_length=1)
    """Encoders, whose codes are added: fully connected, convolutional, residual."""
    decoder: Literal["fcn", "conv"] = "fcn"
    """The decoder, fully connected or convolutional."""
    width: int = Field(12, ge=4)
    """Channels of the first convolution; no effect on fully connected parts."""
    latent: int = Field(3, ge=2)
    """Numbers in the middle."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of the smooth noise on what the encoders see in training, of values from -1 to 1."""
    variational: bool = False
    """Draw the code from a distribution that is kept near the standard normal one."""
    kl: float = Field(1.0, ge=0)
    """Weight of the divergence by pixel beside the error by pixel; no effect without `variational`."""
    adversarial: float = Field(0.0, ge=0)
    """Weight of fooling the discriminator; 0 for no noise branch and no discriminator."""
    score: Literal["error", "latent", "local"] = "error"
    """Score by the reconstruction's error, by the divergence of the code (with `variational`), or by the place where
    picture and reconstruction differ most unusually, in values and (with `adversarial`) in features."""
    lr: float = Field(1e-3, gt=0)
    """Adam's learning rate; the discriminator's is a tenth."""
    batch_size: int = Field(2000, ge=2)
    """Pictures of a global batch."""
    epochs: int = Field(50, ge=1)
    """Passes over the training pictures."""

    @field_validator("score")
    @classmethod
    def _has_a_divergence(cls, score: str, info: ValidationInfo) -> str:
        if score == "latent" and not info.data.get("variational"):
            raise ValueError("latent needs variational")
        return score


class Detector(nn.Module):
    """The autoencoder, the discriminator where there is one, and how pictures are scored with them."""

    def __init__(self, config: AnomalyConfig) -> None:
        super().__init__()
        self.score_kind = config.score
        self.autoencoder = Autoencoder(config.encoders, config.decoder, config.width, config.latent, config.variational)
        self.discriminator = Discriminator(config.width) if config.adversarial else None
        self.usual = Usual(1 if self.discriminator is None else 2)

    def compare(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, 64, 64) -> squared errors (B,), summed, and maps (B, M, 15, 15) of local differences: of the values
        and, with a discriminator, of its features."""
        rebuilt = self.autoencoder(pictures).pictures
        maps = [energies(pictures - rebuilt)]
        if self.discriminator is not None:
            maps.append(energies(self.discriminator.features(pictures) - self.discriminator.features(rebuilt)))
        return ((pictures - rebuilt) ** 2).flatten(1).sum(1), torch.stack(maps, 1)

    def score(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) -> (B,) scores, higher for anomalies; 'error' is the sample's, a square root of a sum."""
        if self.score_kind == "latent":
            return kl_divergence(*self.autoencoder.encode(pictures))
        errors, maps = self.compare(pictures)
        return errors.sqrt() if self.score_kind == "error" else self.usual(maps)


def train(config: AnomalyConfig, run: Run) -> None:
    (images,) = shards.ArrowDataset(run.data_dir, "train", ("image",)).columns
    rows = torch.arange(len(images))
    held = min(HELD_OUT, len(images) // 10)
    held_out, learning = rows[:held], rows[held:]
    detector = Detector(config).to(run.device)
    model = run.wrap(detector.autoencoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    state: dict[str, Any] = {"model": model, "optimizer": optimizer}
    if detector.discriminator is not None:
        critic = run.wrap(detector.discriminator)
        critic_optimizer = torch.optim.Adam(critic.parameters(), lr=config.lr / 10, betas=(0.5, 0.999))
        state |= {"critic": critic, "critic_optimizer": critic_optimizer}
    batches = run.loader(Normal(images, learning), config.batch_size, train=True)
    validation = Normal(images, held_out)

    for _ in run.epochs(config.epochs, state=state):
        loss_sum, critic_sum, count = torch.zeros((), device=run.device), torch.zeros((), device=run.device), 0
        for pictures, _ in batches:
            seen = with_smooth_noise(pictures, config.noise) if config.noise else pictures
            output = model(seen, imagine=config.adversarial > 0)
            loss = F.mse_loss(output.pictures, pictures)
            if config.variational:
                # The bound's two terms are sums, over the pixels and over the code; both are divided by the pixels.
                divergence = kl_divergence(output.mean, output.log_variance).mean()
                loss = loss + config.kl * divergence / pictures[0].numel()
            if config.adversarial:
                drawn = torch.cat([output.pictures, output.imagined])
                logits = critic(torch.cat([pictures, drawn.detach()]))
                critic_loss = F.softplus(-logits[: len(pictures)]).mean() + F.softplus(logits[len(pictures) :]).mean()
                critic_optimizer.zero_grad()
                critic_loss.backward()
                critic_optimizer.step()
                critic_sum += critic_loss.detach() * len(pictures)
                # The bare module: gradients that this leaves in the discriminator are dropped before its next step.
                fooled = unwrap(critic)(drawn)
                loss = loss + config.adversarial * F.softplus(-fooled).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(pictures)
            count += len(pictures)
        run.log({"train/loss": run.mean(loss_sum, count)})
        if config.adversarial:
            run.log({"train/critic_loss": run.mean(critic_sum, count)})
        run.log(evaluate(detector, validation, run))
        run.keep(detector)


def evaluate(detector: Detector, validation: Normal, run: Run) -> dict[str, float]:
    """`val/mse` of held-out normal faces and `val/auc` against the same, damaged; sets what is usual for normal."""
    error, maps, scores = torch.zeros((), device=run.device), [], []
    with run.evaluation(detector) as net:
        for pictures, _ in run.loader(validation, 200):
            errors, differences = net.compare(pictures)
            error += errors.sum()
            maps += list(differences.cpu())
        net.usual.fit(torch.stack(run.gather(maps)))
        for pictures, numbers in run.loader(validation, 200):
            scores += torch.stack([net.score(pictures), net.score(damaged(pictures, numbers))], 1).tolist()
    gathered = np.array(run.gather(scores))
    return {"val/mse": run.mean(error, len(maps)) / (3 * SIDE**2), "val/auc": area(gathered[:, 1], gathered[:, 0])}


def area(anomalous: np.ndarray, normal: np.ndarray) -> float:
    """Area under the ROC curve of scores; nan where a score is not finite."""
    from sklearn.metrics import roc_auc_score

    scores = np.concatenate([anomalous, normal])
    if not np.isfinite(scores).all():
        return math.nan
    return float(roc_auc_score(np.arange(len(scores)) < len(anomalous), scores))


def load(folder: Path) -> Detector:
    return load_weights(folder, Detector(LAB.read_config(folder)))


def predict(model: Detector, inputs: np.ndarray) -> np.ndarray:
    """(B, 64, 64, 3) uint8 -> (B,) scores, float32."""
    device = next(model.parameters()).device
    with torch.no_grad():
        output: np.ndarray = model.score(as_input(torch.from_numpy(inputs)).to(device)).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `prediction.csv` (`ID,score`) and the report's figures: `latent.png` (codes with two elements changed),
    `reconstructions.png` (test faces), `extremes.png` (the test's lowest and highest scores)."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    (images,) = shards.ArrowDataset(data_dir, "test", ("image",)).columns
    parts = torch.arange(len(images)).split(200)
    scores = np.concatenate([predict(model, images[part].numpy()) for part in parts])
    submission.write(out / LAB.submission, HEADER, enumerate(scores.tolist()))
    (normal,) = shards.ArrowDataset(data_dir, "train", ("image",)).columns
    for name, figure in report(model, images, scores, normal).items():
        figure.savefig(out / f"{name}.png", dpi=100, bbox_inches="tight")


def check_submission(file: Path) -> list[str]:
    return submission.check(file, HEADER, "<score>", str, _score_fault)


def _score_fault(guess: str) -> str | None:
    with suppress(ValueError):
        if math.isfinite(float(guess)):
            return None
    return "is not a finite number"


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """`test/auc` over all anomalies and of each kind, always against all normal faces."""
    if not (data_dir / data.ANSWERS).exists():
        return {}
    scores = np.array([float(guess) for guess in submission.predictions(delivered / LAB.submission)])
    kinds = np.array(["subtle" if kind in CHANGES else kind for kind in data.answers(data_dir)])
    normal = scores[kinds == "normal"]
    by_kind = {f"test/auc-{kind}": area(scores[kinds == kind], normal) for kind in ("near", "far", "subtle")}
    return {"test/auc": area(scores[kinds != "normal"], normal), **by_kind, "test/trivial": 0.5}


def space() -> dict[str, dict[str, object]]:
    return {
        "encoders": {"type": "choice", "values": [["conv"], ["resnet"], ["fcn", "conv"], ["fcn", "conv", "resnet"]]},
        "width": {"type": "choice", "values": [8, 12, 16, 24]},
        "latent": {"type": "choice", "values": [3, 16, 32, 64, 128, 256, 512]},
        "noise": {"type": "uniform", "low": 0.0, "high": 1.5},
        "adversarial": {"type": "loguniform", "low": 1e-5, "high": 1e-2},
        "lr": {"type": "loguniform", "low": 3e-4, "high": 1e-2},
        "batch_size": {"type": "choice", "values": [16, 32, 50, 100]},
        "epochs": {"type": "randint", "low": 5, "high": 50},
    }


MEDIUM = {"encoders": ("conv",), "decoder": "conv", "latent": 128}
STRONG = {**MEDIUM, "encoders": ("fcn", "conv", "resnet"), "noise": 1.0}
BOSS = {**STRONG, "noise": 0.7, "adversarial": 0.0001, "score": "local"}
LAB = Lab(
    heading=COURSE["anomaly"],
    config=AnomalyConfig,
    presets={"simple": {}, "medium": MEDIUM, "strong": STRONG, "boss": BOSS},
    sizes={
        "tiny": {"width": 4, "batch_size": 20, "epochs": 2},
        "small": {"batch_size": 50, "epochs": 12},
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="prediction.csv",
    space=space,
    network=Detector,
    data=data,
    tuned={
        **{(preset, "course"): {"batch_size": 128} for preset in ("medium", "strong", "boss")},  # a hint of the course
        ("medium", "small"): {"lr": 2e-3, "batch_size": 16, "epochs": 20},
        ("strong", "small"): {"lr": 2e-3, "batch_size": 16, "epochs": 14},
        ("boss", "small"): {"lr": 2e-3, "batch_size": 25, "epochs": 10},
    },
    seconds={"tiny": 3, "small": 60, "course": 3600},
)
