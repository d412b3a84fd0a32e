"""The settings of the GAN lab."""

from typing import Literal, Self

from pydantic import Field, model_validator

from labs import COURSE
from labs.core.config import Config
from labs.gan.dcgan import Norm
from labs.gan.losses import Loss

METRIC = COURSE["gan"].metric
GRID = 64
"""Pictures of a grid of samples."""


class GanConfig(Config):
    generator: Literal["dcgan", "style", "cyclegan"] = "dcgan"
    """The generator: DCGAN, the sample's; a style-based one; or CycleGAN's two generators, which translate pictures and
    on which `norm`, `constraint`, `critic_steps`, `augment`, `truncation` and `samples` have no effect."""
    loss: Loss = "bce"
    """The adversarial loss: binary cross-entropy, the Wasserstein distance, or least squares."""
    cycle_weight: float = Field(10.0, ge=0)
    """Weight of CycleGAN's cycle-consistency loss; no effect unless `generator=cyclegan`."""
    norm: Norm = "batch"
    """Normalisation in the critic: batch, instance or layer norm, spectral norm of its weights, or none."""
    constraint: Literal["none", "clip", "gradient-penalty", "r1"] = "none"
    """What bounds the critic's gradient: clipped weights, a penalty on gradient norms other than 1 between real and
    generated pictures (WGAN-GP), or a penalty on any gradient at real pictures (R1)."""
    clip: float = Field(0.01, gt=0)
    """Largest absolute value of a critic's weight; no effect unless `constraint=clip`, except in the report's figure
    of gradient norms."""
    penalty_weight: float = Field(10.0, ge=0)
    """Weight of the penalty; no effect unless `constraint=gradient-penalty` or `r1`, except in the report's figure of
    gradient norms."""
    critic_steps: int = Field(1, ge=1)
    """Steps of the critic for each step of the generator."""
    augment: float = Field(0.0, ge=0, le=1)
    """Strength of the random augmentation of all pictures that the critic sees; 0 for none."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay, for each step of the generator, of the EMA weights, with which pictures are generated; 0 uses the last
    weights."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """The optimizer of the generator and of the critic."""
    lr: float = Field(1e-4, gt=0)
    """Learning rate of the generator."""
    lr_critic: float = Field(1e-4, gt=0)
    """Learning rate of the critic."""
    lr_decay_fraction: float = Field(0.0, ge=0, le=1)
    """Fraction of the epochs, at the end, over which both learning rates decay linearly towards 0; 0 for none."""
    beta1: float = Field(0.5, ge=0, lt=1)
    """Adam's decay rate of the mean of the gradient; no effect with `optimizer=rmsprop`."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Adam's decay rate of the mean of the squared gradient; no effect with `optimizer=rmsprop`."""
    width: int = Field(64, ge=4)
    """Channels of the critic's first feature map and of the generator's last one."""
    side: Literal[32, 64] = 64
    """Height and width, in pixels, of the pictures that the networks generate and see."""
    truncation: float = Field(1.0, gt=0, le=1)
    """Factor of the noise outside of training: below 1, pictures are more typical and less varied."""
    batch_size: int = Field(64, ge=2)
    """Pictures of a batch, over all workers."""
    epochs: int = Field(1, ge=1)
    """Passes over the training pictures."""
    validate_every: int = Field(1, ge=1)
    """Epochs from one validation, with its grid of samples, to the next; the last epoch always has one."""
    samples: int = Field(1000, ge=GRID)
    """Pictures that are generated for a validation."""

    @model_validator(mode="after")
    def _penalty_of_single_pictures(self) -> Self:
        if self.constraint in ("gradient-penalty", "r1") and self.norm == "batch":
            raise ValueError(f"constraint={self.constraint} needs the gradient of each picture on its own, which "
                             "norm=batch mixes; take norm=instance, layer, spectral or none")  # fmt: skip
        return self
