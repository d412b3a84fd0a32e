"""The judge of homework 10: victims, networks that no attack has seen, and two defences, JPEG compression and
adversarial training.

The course's victims are hidden. These are trained with the embedded data, on pictures of their own, and their
architectures are no surrogate's.
"""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from labs.attack.adversarial_training import random_start_fgsm
from labs.attack.networks import Network
from labs.core.cost import one_thread
from labs.core.schedule import set_rate, warmup_cosine

FAMILIES = ("inception", "grouped", "squeeze")
NO_DEFENCE, JPEG, ADVERSARIAL_TRAINING = DEFENCES = ("none", "jpeg", "adversarial training")
ROBUST_FAMILY = "squeeze"
"""Architecture of the one victim with adversarial training."""
PER_FAMILY = 2
"""Victims of each architecture without defence: under one attack the accuracies of two of them differ by .05."""
NAMES = (
    *(f"{family} {number}" for number in range(1, PER_FAMILY + 1) for family in FAMILIES),
    f"{ROBUST_FAMILY} robust",
)
WIDTH, DEPTH, STRIDE = 16, 1, 2
BATCH, RATE, WEIGHT_DECAY = 64, 1e-2, 0.05
ROBUST_EPSILON = 4
"""Largest change of a value in adversarial training, of 255 levels."""
JPEG_QUALITY = 31
"""Pillow's JPEG quality that equals the course's compression rate of 70 in `imgaug`."""


class VictimResult(NamedTuple):
    """A row of the table of victims."""

    victim: str
    """One of `NAMES`."""
    defence: str
    """One of `DEFENCES`."""
    benign: float
    """Accuracy on the pictures before the attack."""
    adversarial: float
    """Accuracy on the attacked pictures."""


def train_victims(images: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int, file: Path) -> None:
    """Train the victims and write their weights; images (N, 3, 32, 32) uint8, labels (N,)."""
    weights = {}
    with one_thread(), torch.random.fork_rng(devices=[]):
        for number, name in enumerate(NAMES):
            torch.manual_seed(len(NAMES) * seed + number)
            network = build_victim(name)
            train_victim(network, images, labels, ROBUST_EPSILON if is_robust(name) else 0, epochs)
            weights.update({f"{name}/{key}": tensor.contiguous() for key, tensor in network.state_dict().items()})
    save_file(weights, file)


def train_victim(network: Network, images: torch.Tensor, labels: torch.Tensor, epsilon: float, epochs: int) -> None:
    """Train one victim; with an epsilon above 0 by adversarial training."""
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for epoch in range(epochs):
        batches = torch.randperm(len(images)).split(BATCH)
        for step, rows in enumerate(batches):
            set_rate(optimizer, RATE * warmup_cosine((epoch + step / len(batches)) / epochs))
            inputs, targets = images[rows].float(), labels[rows]
            if epsilon:
                inputs = random_start_fgsm(network, inputs, targets, epsilon)
            loss = F.cross_entropy(network(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def load_victims(file: Path) -> dict[str, Network]:
    """Name -> network, in eval mode, in the order of `NAMES`."""
    weights: dict[str, dict[str, torch.Tensor]] = {name: {} for name in NAMES}
    for entry, tensor in load_file(file).items():
        name, key = entry.split("/")
        weights[name][key] = tensor
    networks = {name: build_victim(name) for name in NAMES}
    for name, network in networks.items():
        network.load_state_dict(weights[name])
        network.eval()
    return networks


def build_victim(name: str) -> Network:
    """The network of one of `NAMES`, with initial weights."""
    family = name.split()[0]
    return Network(family, WIDTH, DEPTH, STRIDE)


def is_robust(name: str) -> bool:
    return name.endswith("robust")


def evaluate_victims(file: Path, benign: np.ndarray, adversarial: np.ndarray, labels: np.ndarray) -> list[VictimResult]:
    """The accuracies of each victim; those without adversarial training also with JPEG compression of their input.

    Args:
        file: what `train_victims` wrote.
        benign, adversarial: pictures before and after the attack, (N, 3, 32, 32) uint8.
        labels: (N,).
    """
    results = []
    compressed_benign, compressed_adversarial = jpeg(benign), jpeg(adversarial)

    def result(name: str, network: Network, defence: str, before: np.ndarray, after: np.ndarray) -> VictimResult:
        return VictimResult(name, defence, accuracy(network, before, labels), accuracy(network, after, labels))

    for name, network in load_victims(file).items():
        if is_robust(name):
            results.append(result(name, network, ADVERSARIAL_TRAINING, benign, adversarial))
        else:
            results.append(result(name, network, NO_DEFENCE, benign, adversarial))
            results.append(result(name, network, JPEG, compressed_benign, compressed_adversarial))
    return results


def mean_accuracies(results: list[VictimResult]) -> dict[str, float]:
    """`test/accuracy`, `test/accuracy_jpeg` and `test/accuracy_robust`, means over the victims of each of `DEFENCES`,
    and `test/trivial`, the mean on the benign pictures without defence."""
    names = ("test/accuracy", "test/accuracy_jpeg", "test/accuracy_robust")
    means = {
        name: float(np.mean([row.adversarial for row in results if row.defence == defence]))
        for name, defence in zip(names, DEFENCES, strict=True)
    }
    trivial = float(np.mean([row.benign for row in results if row.defence == NO_DEFENCE]))
    return {**means, "test/trivial": trivial}


def accuracy(network: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of the pictures (N, 3, 32, 32) whose predicted class is the label."""
    with torch.no_grad():
        predictions = network(torch.from_numpy(images).float()).argmax(1).numpy()
    return float((predictions == labels).mean())


def jpeg(images: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """Compress pictures (N, 3, H, W) uint8 and decompress them: a defence, as JPEG discards small changes of single
    pixels first."""
    decompressed = []
    for image in images:
        content = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(content, "JPEG", quality=quality)
        decompressed.append(np.asarray(Image.open(content)).transpose(2, 0, 1))
    return np.stack(decompressed)
