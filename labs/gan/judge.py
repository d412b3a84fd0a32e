"""The judge of homework 6: a feature extractor for Fréchet distances, and a face detector.

The course's are unpublished. These are trained with the embedded data and stored in `answers/`: the extractor predicts
the factors that a face was drawn from, the detector classifies faces and corrupted faces. Their scale is their own:
neither the course's FID nor any published one can be compared with it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from labs.core.cost import one_thread
from labs.core.schedule import set_rate, warmup_cosine
from labs.gan.frechet import frechet_distance, precision_recall

HAIRS = (*(f"long{number:02d}" for number in range(1, 27)), *(f"short{number:02d}" for number in range(1, 20)))
"""Classes of the hair, the part by which faces differ most."""
FACTOR_NAMES = ("skin_red", "skin_green", "skin_blue", "hair_red", "hair_green", "hair_blue", "back_red", "back_green",
           "back_blue", "scale", "rotate", "x", "y")  # fmt: skip
"""The continuous factors, scaled to about -1 to 1."""
SKIN_BINS = 4
"""Bins of equal size that the skins, from dark to light, are divided into."""
FEATURES, SIDE = 32, 32
BATCH, RATE, WEIGHT_DECAY = 50, 4e-3, 0.01
Target = tuple[int, tuple[float, ...]]
"""The hair's class, a number in `HAIRS`, and the values of `FACTOR_NAMES`."""


class Network(nn.Module):
    """Convolutions to 32 features, and a linear layer from these to `outputs` numbers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 48)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 16, FEATURES), nn.LeakyReLU(0.1))
        self.head = nn.Linear(FEATURES, outputs)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32), -1 to 1 -> (B, outputs)."""
        output: torch.Tensor = self.head(self.features(pictures))
        return output


def build_extractor() -> Network:
    """The feature extractor, with initial weights: logits of the hair's class, then predictions of `FACTOR_NAMES`."""
    return Network(len(HAIRS) + len(FACTOR_NAMES))


def build_detector() -> Network:
    """The face detector, with initial weights: one logit of being a face."""
    return Network(1)


def extractor_target(factors: Mapping[str, Any]) -> Target:
    """The extractor's target for a face, from the factors that `labs.shared.vision.avatars.avatar` returns."""
    colors = [2 * value - 1 for name in ("skin", "hair", "background") for value in factors[name]]
    pose = ((factors["scale"] - 1) / 0.08, factors["rotate"] / 6, factors["x"] / 3, factors["y"] / 3)
    return HAIRS.index(factors["parts"]["hair"]), (*colors, *pose)


def train_judge(
    images: np.ndarray, targets: Sequence[Target], reference: np.ndarray, seed: int, epochs: int, file: Path
) -> None:
    """Train extractor and detector and write their weights, with features and modes of the reference faces.

    Args:
        images: training faces (N, 64, 64, 3) uint8.
        targets: the extractor's target for each.
        reference: faces (M, 64, 64, 3) uint8 that generated ones will be compared with: drawn like the training faces,
            but given to nobody.
        seed: of weights, batches and corruptions.
        epochs: passes over the training faces, for each network.
        file: the safetensors file to write.
    """
    faces, reference_faces = (network_input(torch.from_numpy(part).permute(0, 3, 1, 2)) for part in (images, reference))
    hairs = torch.tensor([hair for hair, _ in targets])
    factors = torch.tensor([values for _, values in targets])
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extractor, detector = build_extractor(), build_detector()
        mean = faces.mean(0)
        _fit(extractor, len(faces), epochs, lambda rows: _extractor_loss(extractor, faces[rows], hairs[rows],
                                                                         factors[rows]))  # fmt: skip
        _fit(detector, len(faces), epochs, lambda rows: _detector_loss(detector, faces[rows], faces, mean))
    skin_edges = torch.quantile(factors[:, :3].mean(1), torch.arange(1, SKIN_BINS) / SKIN_BINS)
    extractor.eval()
    with torch.no_grad():
        features, modes = extractor.features(reference_faces), _modes(extractor(reference_faces), skin_edges)
    networks = {"extractor": extractor, "detector": detector}
    weights = {f"{name}/{key}": tensor for name, net in networks.items() for key, tensor in net.state_dict().items()}
    save_file({**weights, "features": features, "modes": modes, "skin_edges": skin_edges}, file)


def judge(file: Path, pictures: np.ndarray, mean: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """The test metrics of generated pictures.

    Args:
        file: what `train_judge` wrote.
        pictures: (N, 3, 64, 64) uint8.
        mean: the mean of the real pictures (3, 64, 64) uint8.
        held_out: real pictures that were not learnt from (M, 3, 64, 64) uint8.

    Returns:
        `test/fid`, `test/precision` and `test/recall`, on the extractor's features; `test/afd`, the fraction of the
        pictures in which the detector finds a face; `test/coverage`, the fraction of the real faces' modes that occur
        among the generated ones; `test/trivial`, the Fréchet distance of the mean picture, repeated; `test/fid-real`,
        that of the held-out pictures, which is the higher the fewer they are.
    """
    stored = load_file(file)
    extractor = _load_weights(build_extractor(), "extractor", stored)
    detector = _load_weights(build_detector(), "detector", stored)
    with torch.no_grad():
        inputs = network_input(torch.from_numpy(pictures))
        features, modes = extractor.features(inputs), _modes(extractor(inputs), stored["skin_edges"])
        afd = (detector(inputs) > 0).double().mean()
        trivial = extractor.features(network_input(torch.from_numpy(np.stack([mean, mean]))))
        real = extractor.features(network_input(torch.from_numpy(held_out)))
    precision, recall = precision_recall(stored["features"], features)
    real_modes = set(stored["modes"].tolist())
    return {
        "test/fid": frechet_distance(stored["features"], features),
        "test/afd": float(afd),
        "test/precision": precision,
        "test/recall": recall,
        "test/coverage": len(real_modes & set(modes.tolist())) / len(real_modes),
        "test/trivial": frechet_distance(stored["features"], trivial),
        "test/fid-real": frechet_distance(stored["features"], real),
    }


def network_input(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, 64, 64) uint8 -> (N, 3, 32, 32), -1 to 1."""
    return F.avg_pool2d(images.float(), images.shape[-1] // SIDE) / 127.5 - 1


def corrupted(faces: torch.Tensor, others: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Pictures that are no faces, made from faces: a quarter of each kind, shuffled patches, averages of two faces,
    random linear combinations of eight faces, and warped faces.

    Args:
        faces: (B, 3, 32, 32), -1 to 1.
        others: faces (N, 3, 32, 32) to combine with.
        mean: the mean face (3, 32, 32).
    """
    first, second, third, fourth = faces.chunk(4)
    # Shuffled: the same permutation of 16 patches of 8 x 8 pixels.
    patches = F.unfold(first, 8, stride=8)
    shuffled = F.fold(patches[:, :, torch.randperm(16)], SIDE, 8, stride=8)
    # Averages with another face.
    averages = (second + others[torch.randint(len(others), (len(second),))]) / 2
    # Combinations: the mean face plus weighted differences of eight faces from it.
    chosen = others[torch.randint(len(others), (len(third), 8))]
    weights = torch.randn(len(third), 8, 1, 1, 1) / 8**0.5
    combined = (weights * (chosen - mean)).sum(1) + mean
    # Warped: every pixel is displaced by a smooth random field.
    displacement = F.interpolate(0.25 * torch.randn(len(fourth), 2, 6, 6), SIDE, mode="bicubic").permute(0, 2, 3, 1)
    identity = F.affine_grid(torch.eye(2, 3).repeat(len(fourth), 1, 1), list(fourth.shape), align_corners=False)
    warped = F.grid_sample(fourth, identity + displacement, padding_mode="border", align_corners=False)
    return torch.cat([shuffled, averages, combined.clamp(-1, 1), warped])


def _fit(network: Network, count: int, epochs: int, loss_of: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Train a network; `loss_of` gives its loss for a batch of row numbers below `count`."""
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for epoch in range(epochs):
        batches = torch.randperm(count).split(BATCH)
        for step, rows in enumerate(batches):
            set_rate(optimizer, RATE * warmup_cosine((epoch + step / len(batches)) / epochs))
            loss = loss_of(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _extractor_loss(
    network: Network, faces: torch.Tensor, hairs: torch.Tensor, factors: torch.Tensor
) -> torch.Tensor:  # fmt: skip
    logits, predictions = network(faces).split([len(HAIRS), len(FACTOR_NAMES)], 1)
    return F.cross_entropy(logits, hairs) + 5 * F.mse_loss(predictions, factors)


def _detector_loss(network: Network, faces: torch.Tensor, others: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    logits = network(torch.cat([faces, corrupted(faces, others, mean)]))[:, 0]
    is_face = (torch.arange(len(logits)) < len(faces)).float()
    return F.binary_cross_entropy_with_logits(logits, is_face)


def _modes(outputs: torch.Tensor, skin_edges: torch.Tensor) -> torch.Tensor:
    """The extractor's outputs (B, hairs + factors) -> the mode of each picture (B,): its hair's class and skin's bin as
    one number."""
    hair = outputs[:, : len(HAIRS)].argmax(1)
    skin = outputs[:, len(HAIRS) : len(HAIRS) + 3].mean(1)
    return hair * SKIN_BINS + torch.bucketize(skin, skin_edges)


def _load_weights(network: Network, name: str, stored: Mapping[str, torch.Tensor]) -> Network:
    start = f"{name}/"
    network.load_state_dict({key.removeprefix(start): value for key, value in stored.items() if key.startswith(start)})
    return network.eval()
