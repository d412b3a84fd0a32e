"""The settings of the compression lab, and the student that they describe."""

from typing import Literal

import torch
from pydantic import Field, model_validator

from labs.compression import data
from labs.compression.student import PlainStudent, SeparableNet, Student
from labs.core.config import Config
from labs.core.cost import count_parameters
from labs.core.errors import BadInput

LIMIT = 100_000
"""Parameters that the course allows, at every size."""


class CompressionConfig(Config):
    network: Literal["plain", "separable"] = "plain"
    """The sample code's four convolutions, or four stages of depthwise-separable ones."""
    width: int = Field(32, ge=4)
    """Channels of the first layer; those of the later layers are proportional to it."""
    blocks: int = Field(2, ge=1)
    """Separable blocks of each of the four stages; no effect with `network=plain`."""
    image_size: int = Field(224, ge=32)
    """Side of the student's input in pixels."""
    augment: float = Field(0.0, ge=0, le=2)
    """Strength of the random rotations, crops and colours of training images; 0 for horizontal flips only. At 1 the
    rotation is up to 23 degrees."""
    alpha: float = Field(0.0, ge=0, le=1)
    """Weight of the distillation loss; the cross-entropy with the labels has the weight 1 - alpha."""
    temperature: float = Field(1.0, gt=0)
    """Divisor of teacher and student logits before the softmax of the distillation loss; no effect with `alpha=0`."""
    hint: float = Field(0.0, ge=0)
    """Weight of the hint loss between the last feature maps of student and teacher; 0 for none."""
    relation: float = Field(0.0, ge=0)
    """Weight of relational distillation, of the distances and angles between the images of a batch; 0 for none."""
    mutual: float = Field(0.0, ge=0)
    """Weight of mutual learning: a second student, discarded after the training, and this one learn each other's
    predictions as well; 0 for no second student."""
    assistant: bool = False
    """Train a teaching assistant, the teacher of another run: a larger student, which can't be handed in, as it may
    have more parameters than the course allows."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam with an L2 penalty, as in the sample code, or AdamW with decoupled weight decay."""
    lr: float = Field(3e-4, gt=0)
    """Learning rate; with `schedule=cosine` its highest value."""
    weight_decay: float = Field(1e-5, ge=0)
    """Coefficient of the L2 penalty (Adam) or of the decoupled weight decay (AdamW)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate: constant, or with linear warm-up in the first tenth of the training and cosine decay to 0."""
    clip: float = Field(10.0, gt=0)
    """Largest L2 norm of the gradient; longer gradients are scaled down to it."""
    batch_size: int = Field(64, ge=1)
    """Images of a global batch."""
    epochs: int = Field(10, ge=1)
    """Passes over the training images."""

    @model_validator(mode="after")
    def _within_limit(self) -> "CompressionConfig":
        with torch.device("meta"):
            build(self, len(data.CLASSES))
        return self


def build(config: CompressionConfig, classes: int) -> Student:
    """The student.

    Raises:
        BadInput: it has more parameters than the course allows, and isn't a teaching assistant.
    """
    plain = config.network == "plain"
    net = PlainStudent(config.width, classes) if plain else SeparableNet(config.width, config.blocks, classes)
    if count_parameters(net) > LIMIT and not config.assistant:
        raise BadInput(f"the student has {count_parameters(net):,} parameters where the course allows {LIMIT:,}; "
                       "a smaller width has fewer")  # fmt: skip
    return Student(net, config.image_size)
