"""The detector: an autoencoder, a discriminator where there is one, and the anomaly score computed with them."""

import torch
from torch import nn

from labs.anomaly.autoencoder import Autoencoder, Discriminator, kl_divergence
from labs.anomaly.config import AnomalyConfig
from labs.anomaly.local_score import LocalScore, local_differences


class Detector(nn.Module):
    """Pictures (B, 3, 64, 64), -1 to 1 -> anomaly scores (B,), by `score`."""

    def __init__(self, config: AnomalyConfig) -> None:
        super().__init__()
        self.score_kind = config.score
        self.autoencoder = Autoencoder(config.encoders, config.decoder, config.width, config.latent, config.variational)
        self.discriminator = Discriminator(config.width) if config.adversarial else None
        self.local_score = LocalScore(1 if self.discriminator is None else 2)

    def compare(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compare pictures (B, 3, 64, 64) with their reconstructions.

        Returns:
            Squared errors (B,), summed over pixels and channels, and maps of local differences (B, M, 15, 15): of the
            pixel values and, with a discriminator, of its features.
        """
        reconstruction = self.autoencoder(pictures).reconstruction
        maps = [local_differences(pictures - reconstruction)]
        if self.discriminator is not None:
            features = self.discriminator.features
            maps.append(local_differences(features(pictures) - features(reconstruction)))
        return ((pictures - reconstruction) ** 2).flatten(1).sum(1), torch.stack(maps, 1)

    def score(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, 64, 64) -> (B,) scores, higher for anomalies."""
        if self.score_kind == "latent":
            return kl_divergence(*self.autoencoder.encode(pictures))
        errors, maps = self.compare(pictures)
        if self.score_kind == "error":
            return errors.sqrt()  # the sample's score, ||x - x_hat||_2
        scores: torch.Tensor = self.local_score(maps)
        return scores
