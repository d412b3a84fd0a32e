"""The judge of homework 6: networks that learnt what drawn faces are made of, and to tell faces from damaged ones.

The course's feature extractor and face detector are unpublished. These are trained with the embedded data and stored in
`answers/`; their scale is their own: neither the course's FID nor anyone else's compares with it.
"""

from collections.abc import Mapping, Sequence
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
"""Variants of the part that says most about a face."""
NUMBERS = ("skin_red", "skin_green", "skin_blue", "hair_red", "hair_green", "hair_blue", "back_red", "back_green",
           "back_blue", "scale", "rotate", "x", "y")  # fmt: skip
"""The continuous factors, scaled to about -1 to 1."""
SKINS = 4
"""Parts of equal size that the skins, from dark to light, are divided into."""
FEATURES, SIDE = 32, 32
BATCH, RATE, WEIGHT_DECAY = 50, 4e-3, 0.01
Target = tuple[int, tuple[float, ...]]
"""Number of the hair's variant, and `NUMBERS`."""


class Network(nn.Module):
    """Convolutions to 32 features, and one linear layer that reads `outputs` numbers from them."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, out in ((3, 16), (16, 32), (32, 48)):
            layers += [nn.Conv2d(inside, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1)]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 16, FEATURES), nn.LeakyReLU(0.1))
        self.head = nn.Linear(FEATURES, outputs)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32), -1 to 1 -> (B, outputs)."""
        output: torch.Tensor = self.head(self.features(pictures))
        return output


def target(factors: Mapping[str, Any]) -> Target:
    """What the judge learns of a face: from the factors of `labs.shared.vision.avatars.avatar`."""
    colors = [2 * value - 1 for name in ("skin", "hair", "background") for value in factors[name]]
    pose = ((factors["scale"] - 1) / 0.08, factors["rotate"] / 6, factors["x"] / 3, factors["y"] / 3)
    return HAIRS.index(factors["parts"]["hair"]), (*colors, *pose)


def train(
    images: np.ndarray, targets: Sequence[Target], others: np.ndarray, seed: int, epochs: int, file: Path
) -> None:
    """Train the judge and write its weights, with the features and modes of the faces that it compares with.

    Args:
        images: faces (N, 64, 64, 3) uint8 to learn from.
        targets: what each is made of.
        others: faces (M, 64, 64, 3) uint8 to compare with: of the same kind, seen by nobody.
    """
    faces, compared = (as_input(torch.from_numpy(part).permute(0, 3, 1, 2)) for part in (images, others))
    hair = torch.tensor([variant for variant, _ in targets])
    numbers = torch.tensor([values for _, values in targets])
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        extractor, detector = Network(len(HAIRS) + len(NUMBERS)), Network(1)
        mean = faces.mean(0)
        _fit(extractor, faces, epochs, lambda net, rows: _reading_loss(net(faces[rows]), hair[rows], numbers[rows]))
        _fit(detector, faces, epochs, lambda net, rows: _telling_loss(net, faces[rows], faces, mean))
    edges = torch.quantile(numbers[:, :3].mean(1), torch.arange(1, SKINS) / SKINS)
    extractor.eval()
    with torch.no_grad():
        features, modes = extractor.features(compared), _placed(extractor(compared), edges)
    parts = {"extractor": extractor, "detector": detector}
    weights = {f"{name}/{key}": tensor for name, net in parts.items() for key, tensor in net.state_dict().items()}
    save_file({**weights, "features": features, "modes": modes, "skin_edges": edges}, file)


def judge(file: Path, pictures: np.ndarray, mean: np.ndarray) -> dict[str, float]:
    """The test metrics of generated pictures (N, 3, 64, 64) uint8.

    `test/fid`, `test/precision` and `test/recall` on the extractor's features; `test/afd`, the share in which the
    detector sees a face; `test/coverage`, the share of the modes (hair by skin) of the real faces that are met;
    `test/trivial`, the distance of the mean picture (3, 64, 64) over and over.
    """
    stored = load_file(file)
    extractor = _loaded(Network(len(HAIRS) + len(NUMBERS)), "extractor", stored)
    detector = _loaded(Network(1), "detector", stored)
    with torch.no_grad():
        shown = as_input(torch.from_numpy(pictures))
        features, modes = extractor.features(shown), _placed(extractor(shown), stored["skin_edges"])
        afd = (detector(shown) > 0).double().mean()
        trivial = extractor.features(as_input(torch.from_numpy(np.stack([mean, mean]))))
    precision, recall = precision_recall(stored["features"], features)
    real = set(stored["modes"].tolist())
    return {
        "test/fid": frechet_distance(stored["features"], features),
        "test/afd": float(afd),
        "test/precision": precision,
        "test/recall": recall,
        "test/coverage": len(real & set(modes.tolist())) / len(real),
        "test/trivial": frechet_distance(stored["features"], trivial),
    }


def as_input(images: torch.Tensor) -> torch.Tensor:
    """(N, 3, 64, 64) uint8 -> (N, 3, 32, 32), -1 to 1."""
    return F.avg_pool2d(images.float(), images.shape[-1] // SIDE) / 127.5 - 1


def damaged(faces: torch.Tensor, others: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """No faces, made of faces (B, 3, 32, 32), a quarter of each kind: pieces in disorder, two faces in one, mixtures of
    many others around their mean with random weights, and faces under water."""
    first, second, third, fourth = faces.chunk(4)
    pieces = F.unfold(first, 8, stride=8)
    disorder = F.fold(pieces[:, :, torch.randperm(16)], SIDE, 8, stride=8)
    double = (second + others[torch.randint(len(others), (len(second),))]) / 2
    drawn = others[torch.randint(len(others), (len(third), 8))]
    weights = torch.randn(len(third), 8, 1, 1, 1) / 8**0.5
    mixed = (weights * (drawn - mean)).sum(1) + mean
    shifts = F.interpolate(0.25 * torch.randn(len(fourth), 2, 6, 6), SIDE, mode="bicubic").permute(0, 2, 3, 1)
    place = F.affine_grid(torch.eye(2, 3).repeat(len(fourth), 1, 1), list(fourth.shape), align_corners=False)
    water = F.grid_sample(fourth, place + shifts, padding_mode="border", align_corners=False)
    return torch.cat([disorder, double, mixed.clamp(-1, 1), water])


def _fit(network: Network, faces: torch.Tensor, epochs: int, loss_of: Any) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    for epoch in range(epochs):
        batches = torch.randperm(len(faces)).split(BATCH)
        for step, rows in enumerate(batches):
            set_rate(optimizer, RATE * warmup_cosine((epoch + step / len(batches)) / epochs))
            loss = loss_of(network, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _reading_loss(outputs: torch.Tensor, hair: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    logits, predictions = outputs.split([len(HAIRS), len(NUMBERS)], 1)
    return F.cross_entropy(logits, hair) + 5 * F.mse_loss(predictions, numbers)


def _telling_loss(network: Network, faces: torch.Tensor, others: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    logits = network(torch.cat([faces, damaged(faces, others, mean)]))[:, 0]
    return F.binary_cross_entropy_with_logits(logits, (torch.arange(len(logits)) < len(faces)).float())


def _placed(outputs: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """(B, hairs + numbers) -> (B,) numbers of modes: a hair's variant with a part of the skins."""
    hair, skin = outputs[:, : len(HAIRS)].argmax(1), outputs[:, len(HAIRS) : len(HAIRS) + 3].mean(1)
    return hair * SKINS + torch.bucketize(skin, edges)


def _loaded(network: Network, name: str, stored: Mapping[str, torch.Tensor]) -> Network:
    start = f"{name}/"
    network.load_state_dict({key.removeprefix(start): value for key, value in stored.items() if key.startswith(start)})
    return network.eval()
