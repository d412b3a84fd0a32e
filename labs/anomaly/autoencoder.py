"""Networks of the anomaly lab: encoders and decoders of faces (B, 3, 64, 64), values -1 to 1, and a discriminator."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

SIDE = 64
INSTANCE_NOISE = 0.3
"""Standard deviation of what is added to all that the discriminator sees in training."""


class Output(NamedTuple):
    """What an autoencoder makes of a batch."""

    pictures: torch.Tensor
    """Reconstructions (B, 3, 64, 64)."""
    mean: torch.Tensor
    """Latent codes (B, L); of a variational one their means."""
    log_variance: torch.Tensor
    """(B, L); zeros for a plain one."""
    imagined: torch.Tensor
    """Pictures (B, 3, 64, 64) of random codes; the reconstructions again without `imagine`."""


class Residual(nn.Module):
    """Halves a picture's sides; two convolutions beside a shortcut (He et al., 2016), without batch statistics."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.main(x) + self.shortcut(x))


def linear_sizes(latent: int) -> list[int]:
    """The sample's layers, none narrower than the code."""
    return [3 * SIDE * SIDE, 128, max(64, latent), max(12, latent)]


def encoder(kind: str, width: int, outputs: int) -> nn.Sequential:
    """(B, 3, 64, 64) -> (B, outputs): the sample's `fcn` or `conv`, or residual blocks."""
    if kind == "fcn":
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(linear_sizes(outputs)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(max(12, outputs), outputs))
    layers = []
    for before, after in pairwise((3, width, 2 * width, 4 * width)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()] if kind == "conv" else [Residual(before, after)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * width, outputs))


def decoder(kind: str, width: int, latent: int) -> nn.Sequential:
    """(B, latent) -> (B, 3, 64, 64): the mirror of `encoder`."""
    if kind == "fcn":
        sizes = linear_sizes(latent)[::-1]
        layers: list[nn.Module] = [nn.Linear(latent, sizes[0])]
        for before, after in pairwise(sizes):
            layers += [nn.ReLU(), nn.Linear(before, after)]
        return nn.Sequential(*layers, nn.Unflatten(1, (3, SIDE, SIDE)), nn.Tanh())
    layers = [nn.Linear(latent, 256 * width), nn.Unflatten(1, (4 * width, 8, 8))]
    for before, after in pairwise((4 * width, 2 * width, width, 3)):
        layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Tanh())


class Autoencoder(nn.Module):
    """One or several encoders, whose codes are added, and one decoder; variational with a second half of each code."""

    def __init__(self, encoders: Sequence[str], kind: str, width: int, latent: int, variational: bool) -> None:
        super().__init__()
        self.variational = variational
        self.encoders = nn.ModuleList(encoder(name, width, latent * (1 + variational)) for name in encoders)
        self.decoder = decoder(kind, width, latent)

    def forward(self, pictures: torch.Tensor, imagine: bool = False) -> Output:
        mean, log_variance = self.encode(pictures)
        code = mean
        if self.variational and self.training:
            code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        if not imagine:
            decoded = self.decoder(code)
            return Output(decoded, mean, log_variance, decoded)
        # Random codes as far apart as real ones; a decoder that sees them learns what lies between the faces.
        fixed = code.detach()
        random = fixed.mean(0) + fixed.std(0, correction=0) * torch.randn_like(code)
        decoded, imagined = self.decoder(torch.cat([code, random])).chunk(2)
        return Output(decoded, mean, log_variance, imagined)

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes (B, L) and their log variances (B, L); zeros for a plain autoencoder."""
        code = torch.stack([part(pictures) for part in self.encoders]).sum(0)
        if self.variational:
            mean, log_variance = code.chunk(2, 1)
            return mean, log_variance.clamp(-10, 10)
        return code, torch.zeros_like(code)


class Discriminator(nn.Module):
    """Tells pictures from decoded ones, in training through noise: a decoder's blur would give them away at once, and
    a discriminator that is always right teaches nothing (Sonderby et al., 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2))
        layers: list[nn.Module] = []
        for before, after in pairwise((width, 2 * width, 4 * width)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.judge = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * width, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) -> logits (B,) of being real; `features` alone are the first layer's, (B, width, 32, 32)."""
        if self.training:
            pictures = pictures + INSTANCE_NOISE * torch.randn_like(pictures)
        logits: torch.Tensor = self.judge(self.features(pictures))[:, 0]
        return logits


def with_smooth_noise(pictures: torch.Tensor, deviation: float) -> torch.Tensor:
    """The pictures (B, 3, S, S) and noise as smooth as their parts: drawn on a grid of 8 x 8 and enlarged.

    Noise of single pixels is averaged away by any narrow code, so that there is nothing to learn from it (Kascenas et
    al., 2022).
    """
    grid = deviation * torch.randn(len(pictures), 3, 8, 8, device=pictures.device)
    return pictures + F.interpolate(grid, pictures.shape[-2:], mode="bilinear")


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL divergence (B,), nats, of N(mean, variance) from N(0, 1), summed over the code (Kingma & Welling, app. B)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
