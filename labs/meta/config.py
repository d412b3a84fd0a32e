"""The meta-learning lab's config."""

from typing import Literal

from pydantic import Field

from labs.core.config import Config


class MetaConfig(Config):
    solver: Literal["transfer", "fomaml", "maml", "anil", "reptile", "prototypes"] = "transfer"
    """Meta-learning algorithm; `transfer` is ordinary classification, fine-tuned on each task."""
    width: int = Field(64, ge=4)
    """Channels of every convolution."""
    inner_lr: float = Field(0.4, gt=0)
    """Learning rate alpha of the inner loop, plain gradient descent; no effect with `solver=prototypes`."""
    inner_steps: int = Field(1, ge=1)
    """Inner steps in training; no effect with `solver=transfer` and `prototypes`."""
    val_steps: int = Field(3, ge=0)
    """Inner steps in validation; no effect with `solver=prototypes`."""
    test_steps: int = Field(10, ge=0)
    """Inner steps on test tasks; no effect with `solver=prototypes`."""
    tasks: int = Field(0, ge=0)
    """Number of different training tasks, which then repeat; 0 for new ones all the time."""
    augment: float = Field(0.0, ge=0, le=1)
    """Fraction of the characters in training tasks that are mirrored, rotated by a multiple of 90 degrees, or both, in
    support and query alike; an eighth of these stay as they are."""
    lr: float = Field(1e-3, gt=0)
    """Adam's learning rate beta in the outer loop; with `schedule=cosine` its highest value."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Outer learning rate over the training: constant, or linear warm-up over a tenth of it, then a cosine to 0."""
    meta_batch: int = Field(32, ge=1)
    """Tasks of a global batch."""
    batching: Literal["auto", "vmap", "loop"] = "auto"
    """Tasks of a batch all at once (`vmap`) or one after the other, with the same results; `auto` takes the one that
    was measured as faster for the width and device."""
    steps: int = Field(100, ge=1)
    """Outer steps of an epoch."""
    epochs: int = Field(30, ge=1)
    """Epochs, each with a validation."""
    val_tasks: int = Field(100, ge=1)
    """Validation tasks of held-out characters, the same in every epoch."""
