"""The judge's side of homework 10: networks that no attack has seen, and two defences, JPEG and adversarial training.

The course's victims are hidden; these are trained with the embedded data, on pictures of their own and of families that
no surrogate has.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from labs.attack.adversarial_training import harden
from labs.attack.surrogates import Network
from labs.core.cost import one_thread
from labs.core.schedule import set_rate, warmup_cosine

FAMILIES = ("inception", "grouped", "squeeze")
DEFENCES = ("none", "jpeg", "adversarial training")
ROBUST = "squeeze"
"""Family of the victim that is trained on attacked pictures, beside those without."""
EACH = 2
"""Victims of each family without defence: one attack leaves one of them .05 more than another."""
NAMES = (*(f"{family} {number}" for number in range(1, EACH + 1) for family in FAMILIES), f"{ROBUST} robust")
WIDTH, DEPTH, STRIDE = 16, 1, 2
BATCH, RATE, WEIGHT_DECAY = 64, 1e-2, 0.05
ROBUST_EPSILON = 4
"""Largest change of a pixel in adversarial training, of 255."""
QUALITY = 31
"""Pillow's JPEG quality that the course's `imgaug` compression rate of 70 comes to."""


class Judged(NamedTuple):
    """A row of the table of victims."""

    victim: str
    """One of `NAMES`."""
    defence: str
    """One of `DEFENCES`."""
    benign: float
    """Accuracy on the pictures as they were."""
    adversarial: float
    """Accuracy on the attacked pictures."""


def train(images: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int, file: Path) -> None:
    """Train the victims and write their weights; images (N, 3, 32, 32) uint8, labels (N,)."""
    weights = {}
    with one_thread(), torch.random.fork_rng(devices=[]):
        for number, name in enumerate(NAMES):
            torch.manual_seed(len(NAMES) * seed + number)
            network = built(name)
            fit(network, images, labels, ROBUST_EPSILON if is_robust(name) else 0, epochs)
            weights.update({f"{name}/{part}": tensor.contiguous() for part, tensor in network.state_dict().items()})
    save_file(weights, file)


def fit(network: Network, images: torch.Tensor, labels: torch.Tensor, epsilon: float, epochs: int) -> None:
    """Train a victim; with an epsilon above 0 on pictures attacked on the spot."""
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for epoch in range(epochs):
        batches = torch.randperm(len(images)).split(BATCH)
        for step, rows in enumerate(batches):
            set_rate(optimizer, RATE * warmup_cosine((epoch + step / len(batches)) / epochs))
            clean, target = images[rows].float(), labels[rows]
            seen = harden(network, clean, target, epsilon) if epsilon else clean
            loss = F.cross_entropy(network(seen), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def load(file: Path) -> dict[str, Network]:
    """Name -> network, in eval mode, in the order of `NAMES`."""
    weights: dict[str, dict[str, torch.Tensor]] = {name: {} for name in NAMES}
    for key, tensor in load_file(file).items():
        name, part = key.split("/")
        weights[name][part] = tensor
    networks = {name: built(name) for name in NAMES}
    for name, network in networks.items():
        network.load_state_dict(weights[name])
        network.eval()
    return networks


def built(name: str) -> Network:
    """The network, untrained, of one of `NAMES`."""
    return Network(name.split()[0], WIDTH, DEPTH, STRIDE)


def is_robust(name: str) -> bool:
    return name.endswith("robust")


def judge(file: Path, benign: np.ndarray, adversarial: np.ndarray, labels: np.ndarray) -> list[Judged]:
    """Each victim as it is, those without defence also behind JPEG; pictures (N, 3, 32, 32) uint8, labels (N,)."""
    rows = []
    pair, compressed = (benign, adversarial), (jpeg(benign), jpeg(adversarial))
    for name, network in load(file).items():
        defence = "adversarial training" if is_robust(name) else "none"
        rows.append(Judged(name, defence, *(accuracy(network, images, labels) for images in pair)))
        if defence == "none":
            rows.append(Judged(name, "jpeg", *(accuracy(network, images, labels) for images in compressed)))
    return rows


def means(rows: list[Judged]) -> dict[str, float]:
    """`test/accuracy`, `..._jpeg` and `..._robust`, a mean for each of `DEFENCES`, and `test/trivial`, on the pictures
    as they were and without defence."""
    adversarial, benign = (
        [float(np.mean([getattr(row, column) for row in rows if row.defence == name])) for name in DEFENCES]
        for column in ("adversarial", "benign")
    )
    names = ("test/accuracy", "test/accuracy_jpeg", "test/accuracy_robust")
    return {**dict(zip(names, adversarial, strict=True)), "test/trivial": benign[0]}


def accuracy(network: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of the pictures, (N, 3, 32, 32), that a network classifies rightly."""
    with torch.no_grad():
        predictions = network(torch.from_numpy(images).float()).argmax(1).numpy()
    return float((predictions == labels).mean())


def jpeg(images: np.ndarray, quality: int = QUALITY) -> np.ndarray:
    """Pictures compressed and opened again: small changes of single pixels are what JPEG throws away first.

    (N, 3, H, W) uint8 -> the same.
    """
    opened = []
    for image in images:
        content = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(content, "JPEG", quality=quality)
        opened.append(np.asarray(Image.open(content)).transpose(2, 0, 1))
    return np.stack(opened)
