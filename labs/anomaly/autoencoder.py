"""The networks of the anomaly lab: encoders and decoders of pictures (B, 3, 64, 64), -1 to 1, and a discriminator."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

SIDE = 64
INSTANCE_NOISE = 0.3
"""Standard deviation of the noise that is added to the discriminator's input in training."""


class Output(NamedTuple):
    """An autoencoder's output for a batch."""

    reconstruction: torch.Tensor
    """The reconstructed pictures x_hat (B, 3, 64, 64)."""
    mean: torch.Tensor
    """Latent codes (B, L); of a variational autoencoder their means."""
    log_variance: torch.Tensor
    """Logarithms of the codes' variances (B, L); zeros unless the autoencoder is variational."""
    decoded_noise: torch.Tensor
    """Pictures (B, 3, 64, 64) decoded from random codes; the reconstructions where these are not asked for."""


class ResidualBlock(nn.Module):
    """A residual block that halves the side: two convolutions beside a shortcut (He et al., arXiv:1512.03385), without
    batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.main(x) + self.shortcut(x))


def linear_sizes(latent: int) -> list[int]:
    """Widths of the sample's fully connected layers, none smaller than the latent code."""
    return [3 * SIDE * SIDE, 128, max(64, latent), max(12, latent)]


def encoder(kind: str, width: int, outputs: int) -> nn.Sequential:
    """(B, 3, 64, 64) -> (B, outputs): the sample's `fcn` or `conv`, or with `resnet` residual blocks."""
    if kind == "fcn":
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(linear_sizes(outputs)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(max(12, outputs), outputs))
    layers = []
    for before, after in pairwise((3, width, 2 * width, 4 * width)):
        if kind == "conv":
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
        else:
            layers += [ResidualBlock(before, after)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * width, outputs))


def decoder(kind: str, width: int, latent: int) -> nn.Sequential:
    """(B, latent) -> (B, 3, 64, 64): the layers of `encoder` in reverse order."""
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
    """One or several encoders, whose latent codes are added, and one decoder.

    The encoders of a variational autoencoder have twice the outputs: the codes' means and log variances.
    """

    def __init__(self, encoders: Sequence[str], kind: str, width: int, latent: int, variational: bool) -> None:
        super().__init__()
        self.variational = variational
        self.encoders = nn.ModuleList(encoder(name, width, latent * (1 + variational)) for name in encoders)
        self.decoder = decoder(kind, width, latent)

    def forward(self, pictures: torch.Tensor, decode_noise: bool = False) -> Output:
        """Encode and decode pictures (B, 3, 64, 64); with `decode_noise` decode as many random codes as well."""
        mean, log_variance = self.encode(pictures)
        code = mean
        if self.variational and self.training:
            # z = mean + std * epsilon, epsilon ~ N(0, I)   (the reparametrisation trick, Kingma & Welling)
            code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        if not decode_noise:
            reconstruction = self.decoder(code)
            return Output(reconstruction, mean, log_variance, reconstruction)
        # Random codes with the mean and standard deviation of the batch's: they lie between the codes of faces.
        constant = code.detach()
        random = constant.mean(0) + constant.std(0, correction=0) * torch.randn_like(code)
        reconstruction, decoded_noise = self.decoder(torch.cat([code, random])).chunk(2)
        return Output(reconstruction, mean, log_variance, decoded_noise)

    def encode(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latent codes (B, L) and their log variances (B, L), which are zeros unless the autoencoder is variational."""
        code = torch.stack([encoder(pictures) for encoder in self.encoders]).sum(0)
        if self.variational:
            mean, log_variance = code.chunk(2, 1)
            return mean, log_variance.clamp(-10, 10)
        return code, torch.zeros_like(code)


class Discriminator(nn.Module):
    """Classifies pictures as real or decoded. In training noise is added to its input: decoded pictures are blurred, so
    that it would soon be always right and have no useful gradient (instance noise, Sonderby et al., arXiv:1610.04490).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2))
        layers: list[nn.Module] = []
        for before, after in pairwise((width, 2 * width, 4 * width)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.classifier = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * width, 1))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) -> logits (B,) of being real; `features` gives the first layer's maps (B, width, 32, 32)."""
        if self.training:
            pictures = pictures + INSTANCE_NOISE * torch.randn_like(pictures)
        logits: torch.Tensor = self.classifier(self.features(pictures))[:, 0]
        return logits


def with_smooth_noise(pictures: torch.Tensor, std: float) -> torch.Tensor:
    """The pictures (B, 3, S, S) plus smooth Gaussian noise, drawn on a grid of 8 x 8 and enlarged to their size.

    Noise in single pixels is averaged out by any small latent code, so that removing it teaches an autoencoder nothing
    (Kascenas et al., 2022).

    Args:
        pictures: values from -1 to 1.
        std: standard deviation of the noise on the grid.
    """
    grid = std * torch.randn(len(pictures), 3, 8, 8, device=pictures.device)
    return pictures + F.interpolate(grid, pictures.shape[-2:], mode="bilinear")


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL divergence (B,) of N(mean, variance) from N(0, 1), in nats, summed over the latent code (B, L)."""
    # KL(N(mean, var) || N(0, 1)) = (mean^2 + var - 1 - log var) / 2   (Kingma & Welling, appendix B)
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
