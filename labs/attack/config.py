"""The settings of the attack lab."""

from typing import Literal

from pydantic import Field

from labs.attack.networks import SIDE
from labs.core.config import Config

EPSILON = 8
"""Largest change of a pixel's channel that a submission may have, of 255 levels."""
Family = Literal["residual", "preactivation", "nin", "plain", "dense", "mixer"]


class AttackConfig(Config):
    surrogates: tuple[Family, ...] = Field(("residual",), min_length=1)
    """Architectures of the surrogates, the networks that the attack is computed on; one that is named twice has two
    networks, with different initial weights."""
    width: int = Field(16, ge=8, multiple_of=8)
    """Channels of a surrogate's first stage; the second and third have two and four times as many."""
    depth: int = Field(18, ge=1)
    """Blocks of each of a surrogate's three stages."""
    stride: Literal[1, 2] = 1
    """Stride of a network's first layer and of its first stage; 2 is ten times faster on a CPU."""
    attack: Literal["fgsm", "i-fgsm", "mi-fgsm"] = "fgsm"
    """The attack: one step, many small steps, or many small steps with momentum."""
    steps: int = Field(20, ge=1)
    """Steps of the attack; no effect with `attack=fgsm`."""
    alpha: float = Field(0.8, gt=0, le=EPSILON)
    """Step size of the attack, of 255 levels; no effect with `attack=fgsm`, whose one step is 8 levels."""
    decay: float = Field(1.0, ge=0)
    """Decay factor of the momentum, mu in the paper; no effect unless `attack=mi-fgsm`."""
    diversity: float = Field(0.0, ge=0, le=1)
    """Probability that a step computes its gradient on pictures that are shrunk and padded at random (DIM); no effect
    with `attack=fgsm`."""
    smallest_side: int = Field(28, ge=8, le=SIDE)
    """Smallest side, in pixels, that pictures are shrunk to; no effect with `diversity=0`."""
    lr: float = Field(1e-2, gt=0)
    """Peak learning rate of the surrogates."""
    training_epsilon: float = Field(0.0, ge=0, le=EPSILON)
    """Largest change of a value, of 255 levels, in the surrogates' adversarial training; 0 for ordinary training."""
    batch_size: int = Field(64, ge=1)
    """Pictures of a batch, over all workers."""
    epochs: int = Field(30, ge=1)
    """Passes over the surrogates' training pictures."""
    validate_every: int = Field(5, ge=1)
    """Epochs from one attack on the validation network to the next; the last epoch always has one."""
