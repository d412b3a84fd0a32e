"""The lab's networks as RLlib wants them."""

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

from labs.rl.game import mlp

RETURN_SCALE = 100.0
"""LunarLander's returns go to some hundreds; to learn that scale first would waste the first updates."""


class Actor(TorchRLModule):  # type: ignore[misc]
    """An MLP: `actor` (B, 8) -> (B, 4) logits."""

    def setup(self) -> None:
        self.actor = mlp(self.observation_space.shape[0], self.model_config["hidden"], int(self.action_space.n))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.actor(batch[Columns.OBS])}


class ActorCritic(Actor, ValueFunctionAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """With a second MLP of its own: `critic` (B, 8) -> (B, 1) in units of `RETURN_SCALE`."""

    def setup(self) -> None:
        super().setup()
        self.critic = mlp(self.observation_space.shape[0], self.model_config["hidden"], 1)

    def get_non_inference_attributes(self) -> list[str]:
        return ["critic"]

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        values: torch.Tensor = RETURN_SCALE * self.critic(batch[Columns.OBS]).squeeze(-1)
        return values
