"""The lab's networks as RLlib's modules: actor, actor with critic, Q-network."""

from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.algorithms.dqn.dqn_learner import QF_NEXT_PREDS, QF_PREDS, QF_TARGET_NEXT_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from labs.rl.policies import mlp

RETURN_SCALE = 100.0
"""Points in one unit of a critic's output. LunarLander's returns reach some hundreds, and a network that begins near 0
would spend its first updates on that scale."""


class Actor(TorchRLModule):  # type: ignore[misc]
    """An MLP: `actor` (B, 8) -> (B, 4) logits of the actions."""

    def setup(self) -> None:
        self.actor = mlp(self.observation_space.shape[0], self.model_config["hidden"], int(self.action_space.n))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.actor(batch[Columns.OBS])}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        # a ~ pi(. | s), and log pi(a | s)
        with torch.no_grad():
            log_policy = self.actor(batch[Columns.OBS]).log_softmax(1)
        actions = log_policy.exp().multinomial(1)
        return {
            Columns.ACTIONS: actions.squeeze(1),
            Columns.ACTION_LOGP: log_policy.gather(1, actions).squeeze(1),
        }


class ActorCritic(Actor, ValueFunctionAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """An actor and a second MLP: `critic` (B, 8) -> (B, 1) values in units of `RETURN_SCALE`."""

    def setup(self) -> None:
        super().setup()
        self.critic = mlp(self.observation_space.shape[0], self.model_config["hidden"], 1)

    def get_non_inference_attributes(self) -> list[str]:
        return ["critic"]

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        values: torch.Tensor = RETURN_SCALE * self.critic(batch[Columns.OBS]).squeeze(-1)
        return values

    def state_values(self, episodes: Sequence[SingleAgentEpisode]) -> list[torch.Tensor]:
        """(T + 1,) float64 values V(s_0), ..., V(s_T) of each episode, or chunk of an episode, of T steps; in points.

        V(s_T) is 0 only where the episode terminated. Where it was cut off, by the time limit or at the end of a chunk,
        further rewards would have followed, and the critic estimates them.
        """
        observations = [torch.from_numpy(episode.get_observations()) for episode in episodes]
        device = next(self.parameters()).device
        with torch.no_grad():
            together = self.compute_values({Columns.OBS: torch.cat(observations).to(device)}).cpu().double()
        values = together.split([len(of_episode) for of_episode in observations])
        for episode, v in zip(episodes, values, strict=True):
            if episode.is_terminated:
                v[-1] = 0
        return list(values)


class QNetwork(Actor, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """The same MLP as `actor`, its outputs the Q-values of the actions in units of `RETURN_SCALE`.

    The policy is epsilon-greedy. RLlib's learner minimises the Huber loss of the TD error, y - Q(s, a), with the target
    of double Q-learning (van Hasselt et al., arXiv:1509.06461),

        y = r + gamma Q_target(s', argmax_a' Q(s', a')), and y = r where s' is terminal.

    `target` is the target network, to which `actor` is copied every `target_steps` environment steps.
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
        # a = argmax_a Q(s, a) with probability 1 - epsilon, else uniformly random
        with torch.no_grad():
            q_values = self.actor(batch[Columns.OBS])
        random_actions = torch.randint(q_values.shape[1], (len(q_values),), device=q_values.device)
        explores = torch.rand(len(q_values), device=q_values.device) < self.epsilon
        return {Columns.ACTIONS: torch.where(explores, random_actions, q_values.argmax(1))}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Q(s, .), Q(s', .) which selects the next action, and Q_target(s', .) which evaluates it."""
        next_observations = {Columns.OBS: batch[Columns.NEXT_OBS]}
        return {
            QF_PREDS: self.compute_q_values(batch)[QF_PREDS],
            QF_NEXT_PREDS: self.compute_q_values(next_observations)[QF_PREDS],
            QF_TARGET_NEXT_PREDS: self.forward_target(next_observations)[QF_PREDS],
        }
