"""The lab's networks as RLlib wants them."""

from typing import Any

import torch
from ray.rllib.algorithms.dqn.dqn_learner import QF_NEXT_PREDS, QF_PREDS, QF_TARGET_NEXT_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI, ValueFunctionAPI
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


class QNetwork(Actor, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """The same MLP as `actor`, its outputs the returns expected of each action in units of `RETURN_SCALE`.

    It plays the best action, but a share `epsilon` of the time any one. For double Q-learning (arXiv:1509.06461) the
    network chooses the next action and a slowly following copy, `target`, says what that is worth.
    """

    def setup(self) -> None:
        super().setup()
        self.register_buffer("epsilon", torch.ones(()))

    def make_target_networks(self) -> None:
        self.target = make_target_network(self.actor)

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        return [(self.actor, self.target)]

    def get_non_inference_attributes(self) -> list[str]:
        return ["target"]

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {QF_PREDS: RETURN_SCALE * self.actor(batch[Columns.OBS])}

    def forward_target(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {QF_PREDS: RETURN_SCALE * self.target(batch[Columns.OBS])}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        logits = self.actor(batch[Columns.OBS])
        anything = torch.randint(logits.shape[1], (len(logits),), device=logits.device)
        explores = torch.rand(len(logits), device=logits.device) < self.epsilon
        return {Columns.ACTIONS: torch.where(explores, anything, logits.argmax(1))}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        now, following = (self.compute_q_values({Columns.OBS: batch[at]}) for at in (Columns.OBS, Columns.NEXT_OBS))
        worth = self.forward_target({Columns.OBS: batch[Columns.NEXT_OBS]})
        return {
            QF_PREDS: now[QF_PREDS],
            QF_NEXT_PREDS: following[QF_PREDS],
            QF_TARGET_NEXT_PREDS: worth[QF_PREDS],
        }
