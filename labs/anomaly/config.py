"""The settings of the anomaly lab."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from labs.core.config import Config


class AnomalyConfig(Config):
    encoders: tuple[Literal["fcn", "conv", "resnet"], ...] = Field(("fcn",), min_length=1)
    """Encoders, whose latent codes are added: fully connected, convolutional, residual."""
    decoder: Literal["fcn", "conv"] = "fcn"
    """The decoder: fully connected or convolutional."""
    width: int = Field(12, ge=4)
    """Channels of the first convolution; no effect on fully connected encoders and decoders."""
    latent: int = Field(3, ge=2)
    """Dimensions of the latent code."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of the smooth noise that is added to the encoders' input in training; pictures have values
    from -1 to 1; 0 for none."""
    variational: bool = False
    """Train a variational autoencoder (VAE): the code is drawn from a Gaussian, which a KL divergence keeps near the
    standard normal distribution."""
    kl: float = Field(1.0, ge=0)
    """Weight of the KL divergence, which like the squared error is per value of a picture; no effect unless
    `variational`."""
    adversarial: float = Field(0.0, ge=0)
    """Weight of the adversarial loss of reconstructions and of decoded random codes; 0 for no discriminator and no
    random codes."""
    score: Literal["error", "latent", "local"] = "error"
    """The anomaly score: the reconstruction error; the KL divergence of the latent code, which needs `variational`; or
    the largest standardised local difference between picture and reconstruction, in pixel values and, with
    `adversarial`, in the discriminator's features."""
    lr: float = Field(1e-3, gt=0)
    """Adam's learning rate for the autoencoder; the discriminator's is a tenth of it."""
    batch_size: int = Field(2000, ge=2)
    """Pictures of a batch, over all workers."""
    epochs: int = Field(50, ge=1)
    """Passes over the training pictures."""

    @field_validator("score")
    @classmethod
    def _latent_score_of_a_vae(cls, score: str, info: ValidationInfo) -> str:
        if score == "latent" and not info.data.get("variational"):
            raise ValueError("latent needs variational")
        return score
