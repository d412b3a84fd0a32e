"""The linear scaling rule: with more workers a larger global batch, and a learning rate that grows with it.

Goyal et al., Accurate, Large Minibatch SGD (arXiv:1706.02677).
"""

from labs.core.config import Config
from labs.core.errors import BadInput
from labs.core.lab import Lab

RATES = ("lr", "lr_critic")
"""Fields that are learning rates."""


def scaled(lab: Lab, config: Config, per_worker: int, workers: int) -> tuple[Config, float]:
    """The config with a batch of `per_worker` samples for each worker.

    Args:
        lab: the lab.
        config: its learning rates suit its own global batch.
        per_worker: samples of each worker at a step.
        workers: how many workers there are.

    Returns:
        The config with k times the global batch and k times the learning rates, and k.

    Raises:
        BadInput: the lab's workers split no batch.
    """
    if lab.placement == "rllib":
        raise BadInput(f"lab {lab.name} scales by its config (num_env_runners), not by workers")
    name = lab.batch_field(config)
    if not hasattr(config, name):
        raise BadInput(f"lab {lab.name} has no field {name!r} that could grow with the workers")
    factor = per_worker * workers / getattr(config, name)
    changed = {rate: getattr(config, rate) * factor for rate in RATES if hasattr(config, rate)}
    return type(config).model_validate({**config.model_dump(), **changed, name: per_worker * workers}), factor


def unscaled(lab: Lab, config: Config, factor: float) -> Config:
    """The config that `scaled` has made so many times larger."""
    name = lab.batch_field(config)
    # Twelve digits: 3 * 0.1 / 3 is not 0.1.
    rates = {rate: float(f"{getattr(config, rate) / factor:.12g}") for rate in RATES if hasattr(config, rate)}
    return type(config).model_validate({**config.model_dump(), **rates, name: round(getattr(config, name) / factor)})
