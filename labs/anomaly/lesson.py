"""Homework 8, anomaly detection: scoring how much a picture differs from normal faces.

Task
    Learn from normal faces only; then give each test picture a score, higher for anomalies.
Data
    `labs.anomaly.data`: 100,000 normal faces to learn from and 19,636 test pictures, RGB, 64 x 64, of which about half
    are anomalies. The embedded data's anomalies are faces in other styles (near), pictures that are no faces (far), and
    faces with mirrored, swapped, covered or miscoloured parts (subtle). `test/auc-<kind>` compares the anomalies of a
    kind with all normal test faces.
Metric
    Area under the ROC curve (AUC), higher is better, 0.5 for chance. The course's public thresholds (a student's copy):
    simple 0.52970, medium 0.72895, strong 0.77196, boss 0.79506.

    As no anomaly has a label, `val/auc` compares held-out normal faces with synthetic anomalies made from them, of
    other kinds than those in the test set: twisted, torn and doubled faces. It does not choose the epoch: the last
    epoch's weights are kept, as in the sample. `val/mse` is the reconstruction error of the held-out faces. A lower
    error need not mean a higher AUC: medium reconstructs normal faces better than strong and detects fewer anomalies;
    and with PCA on the drawn faces, 1000 components instead of 32 lower the error from .060 to .017 and the AUC of
    miscoloured faces from .88 to .78.
Ladder
    simple   a convolutional variational autoencoder (VAE) as in the sample, with a code of 128 numbers in place of a
             map of 48 x 8 x 8; score: reconstruction error. As in the sample a KL divergence that is summed over the
             code is added to an error that is a mean over values, so that the divergence dominates: the reconstructions
             hardly depend on the picture.
    medium   the autoencoder without it, and 128 dimensions: enough to reconstruct faces, too few for other pictures.
    strong   a multi-encoder autoencoder: the codes of a fully connected, a convolutional and a residual encoder are
             added, and one decoder reconstructs. It is a denoising autoencoder: smooth noise is added to the encoders'
             input, and the target is the picture without it (Kascenas et al.).
    boss     adversarial training: the decoder also decodes random codes, and a discriminator classifies pictures as
             real or decoded. Score: the largest local difference between picture and reconstruction, in standard
             deviations of normal faces' differences there, in pixel values and in the discriminator's features
             (f-AnoGAN's features, PaDiM's Gaussian at each place).
    At size small, on one seed, boss gains by its score, not by its training: strong with that score has .89, boss .87.
Beyond
    `fcn`: the sample's fully connected autoencoder with a latent code of 3 dimensions. `kl=1`: the divergence and the
    squared error are both per value, as in the paper. `score=latent` uses the code's divergence alone.
Report
    (a)  What is a VAE, what is its advantage over a plain autoencoder, and what is a problem of it?
    (b)  What do at least two elements of the latent code stand for? (The course asks for a fully connected autoencoder,
         which is preset fcn.)
Papers
    Kingma & Welling, VAE (arXiv:1312.6114); Larsen et al., VAE/GAN (arXiv:1512.09300); Schlegl et al., f-AnoGAN
    (Medical Image Analysis 54, 2019); Kascenas et al., Denoising Autoencoders for Anomaly Detection (MIDL 2022);
    Defard et al., PaDiM (arXiv:2011.08785); Sonderby et al., instance noise (arXiv:1610.04490).
"""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from labs import COURSE
from labs.anomaly import data, report
from labs.anomaly.autoencoder import SIDE, kl_divergence, with_smooth_noise
from labs.anomaly.config import AnomalyConfig
from labs.anomaly.demo import DEMO
from labs.anomaly.detector import Detector
from labs.anomaly.pictures import Pictures, network_input, synthetic_anomalies
from labs.core import shards, submission
from labs.core.lab import Lab
from labs.core.meter import Meter
from labs.core.run import Run
from labs.core.weights import load_weights, unwrap
from labs.shared.vision.avatars import CHANGES

METRIC = COURSE["anomaly"].metric
HEADER = ("ID", "score")
HELD_OUT = 500
"""Largest held-out set of normal faces; it has at most a tenth of the training pictures."""
FITTED = 500
"""Largest number of training faces that the local score is fitted to."""


def train(config: AnomalyConfig, run: Run) -> None:
    (images,) = shards.ArrowDataset(run.data_dir, "train", ("image",)).columns
    rows = torch.arange(len(images))
    held = min(HELD_OUT, len(images) // 10)
    training, held_out = Pictures(images, rows[held:]), Pictures(images, rows[:held])
    fitted = Pictures(images, rows[held : held + FITTED])
    detector = Detector(config).to(run.device)
    autoencoder = run.wrap(detector.autoencoder)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=config.lr)
    state: dict[str, Any] = {"model": autoencoder, "optimizer": optimizer}
    if detector.discriminator is not None:
        discriminator = run.wrap(detector.discriminator)
        discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=config.lr / 10, betas=(0.5, 0.999))
        state |= {"discriminator": discriminator, "discriminator_optimizer": discriminator_optimizer}
    batches = run.loader(training, config.batch_size, train=True)

    for _ in run.epochs(config.epochs, state=state):
        loss_meter, discriminator_meter = Meter(), Meter()
        for x, _ in batches:
            n = len(x)
            # Add smooth noise to the input; the target stays the picture without it
            noisy = with_smooth_noise(x, config.noise) if config.noise else x
            output = autoencoder(noisy, decode_noise=config.adversarial > 0)

            # Reconstruction error: L = ||x_hat - x||^2 / d, with d = 3 * 64 * 64 values of a picture
            loss = F.mse_loss(output.reconstruction, x)

            # VAE: L += kl * KL(N(mean, variance) || N(0, I)) / d, so that both terms of the lower bound are per value
            if config.variational:
                divergence = kl_divergence(output.mean, output.log_variance).mean()
                loss = loss + config.kl * divergence / x[0].numel()

            if config.adversarial:
                # Step of the discriminator: L_D = -E[log sigmoid(D(x))] - E[log(1 - sigmoid(D(decoded)))]
                decoded = torch.cat([output.reconstruction, output.decoded_noise])
                logits = discriminator(torch.cat([x, decoded.detach()]))
                discriminator_loss = F.softplus(-logits[:n]).mean() + F.softplus(logits[n:]).mean()
                discriminator_optimizer.zero_grad()
                run.backward(discriminator_loss)
                run.step(discriminator_optimizer)
                discriminator_meter.add(discriminator_loss, n)

                # Adversarial loss of the autoencoder: L += adversarial * -E[log sigmoid(D(decoded))]. The bare module
                # is called: the gradients that this leaves in the discriminator are zeroed before its next step.
                decoded_logits = unwrap(discriminator)(decoded)
                loss = loss + config.adversarial * F.softplus(-decoded_logits).mean()

            # Step of the autoencoder
            optimizer.zero_grad()
            run.backward(loss)
            run.step(optimizer)
            loss_meter.add(loss, n)

        # Log the means over all workers, validate, and keep the present weights
        run.log({"train/loss": run.mean(loss_meter.sum, loss_meter.count)})
        if config.adversarial:
            run.log({"train/critic_loss": run.mean(discriminator_meter.sum, discriminator_meter.count)})
        fit_local_score(config, detector, fitted, run)
        run.log(evaluate(detector, held_out, run))
        run.keep(detector)


def fit_local_score(config: AnomalyConfig, detector: Detector, fitted: Pictures, run: Run) -> None:
    """Fit the score, where it is the local one, to training faces: its statistics must not be those of faces that it is
    judged on."""
    if config.score != "local":
        return
    maps: list[torch.Tensor] = []
    with run.evaluation(detector) as net:
        for pictures, _ in run.loader(fitted, 200):
            maps += list(net.compare(pictures)[1].cpu())
        net.local_score.fit(torch.stack(run.gather(maps)))


def evaluate(detector: Detector, held_out: Pictures, run: Run) -> dict[str, float]:
    """`val/mse` of held-out normal faces, and `val/auc` of synthetic anomalies made from them."""
    squared_error, scores = Meter(), []
    with run.evaluation(detector) as net:
        for pictures, numbers in run.loader(held_out, 200):
            squared_error.add_sum(net.compare(pictures)[0].sum(), len(pictures))
            anomalies = synthetic_anomalies(pictures, numbers)
            scores += torch.stack([net.score(pictures), net.score(anomalies)], 1).tolist()
    gathered = np.array(run.gather(scores))
    mse = run.mean(squared_error.sum, squared_error.count) / (3 * SIDE**2)
    return {"val/mse": mse, "val/auc": auc(gathered[:, 1], gathered[:, 0])}


def auc(anomalous: np.ndarray, normal: np.ndarray) -> float:
    """Area under the ROC curve of the scores of anomalies and of normal pictures; nan where a score is not finite."""
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
        output: np.ndarray = model.score(network_input(torch.from_numpy(inputs)).to(device)).cpu().numpy()
    return output


def example(data_dir: Path) -> np.ndarray:
    images: np.ndarray = shards.ArrowDataset(data_dir, "test", ("image",))[torch.arange(2)][0].numpy()
    return images


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Write `prediction.csv` (`ID,score`) and the report."""
    model = load(folder).to("cuda" if torch.cuda.is_available() else "cpu")
    (images,) = shards.ArrowDataset(data_dir, "test", ("image",)).columns
    batches = torch.arange(len(images)).split(200)
    scores = np.concatenate([predict(model, images[rows].numpy()) for rows in batches])
    submission.write(out / LAB.submission, HEADER, enumerate(scores.tolist()))
    report.write(LAB, model, folder, data_dir, scores, out)


def check_submission(file: Path) -> list[str]:
    return submission.check(file, HEADER, "<score>", str, _score_fault)


def _score_fault(score: str) -> str | None:
    with suppress(ValueError):
        if math.isfinite(float(score)):
            return None
    return "is not a finite number"


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """`test/auc` of all anomalies and of each kind, compared with all normal test faces."""
    if not (data_dir / data.ANSWERS).exists():
        return {}
    scores = np.array([float(prediction) for prediction in submission.predictions(delivered / LAB.submission)])
    kinds = np.array(["subtle" if kind in CHANGES else kind for kind in data.answers(data_dir)])
    normal = scores[kinds == "normal"]
    by_kind = {f"test/auc-{kind}": auc(scores[kinds == kind], normal) for kind in ("near", "far", "subtle")}
    return {"test/auc": auc(scores[kinds != "normal"], normal), **by_kind, "test/trivial": 0.5}


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
SIMPLE = {**MEDIUM, "variational": True, "kl": float(3 * SIDE**2)}
STRONG = {**MEDIUM, "encoders": ("fcn", "conv", "resnet"), "noise": 1.0}
BOSS = {**STRONG, "noise": 0.7, "adversarial": 0.0001, "score": "local"}
LAB = Lab(
    heading=COURSE["anomaly"],
    config=AnomalyConfig,
    presets={"simple": SIMPLE, "medium": MEDIUM, "strong": STRONG, "boss": BOSS, "fcn": {}},
    sizes={
        "tiny": {"width": 4, "batch_size": 20, "epochs": 2},
        "small": {"batch_size": 50, "epochs": 12},
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
