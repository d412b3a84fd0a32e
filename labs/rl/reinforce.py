"""REINFORCE on RLlib's new API stack: how each action is weighed, the learner's loss, one iteration of the algorithm.

The gradient of the expected return is that of the mean of `weight * log pi(action | state)` (Williams 1992). What the
weight is makes the difference: see `WeighActions`.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from ray.rllib.algorithms import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY, POLICY_LOSS_KEY
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from scipy.signal import lfilter

from labs.rl.module import RETURN_SCALE, Actor

Weights = Literal["immediate", "reward-to-go", "advantage"]


def reward_to_go(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """(T,) rewards of an episode -> (T,) float32: at each step the sum of its and all later rewards, discounted."""
    summed: np.ndarray = lfilter([1], [1, -gamma], rewards[::-1].astype(np.float64))[::-1].astype(np.float32)
    return summed


def advantages(rewards: np.ndarray, values: np.ndarray, gamma: float, lambda_: float) -> np.ndarray:
    """(T,) rewards of an episode, (T,) values of its states -> (T,) generalised advantage estimates.

    The sum of the steps' surprises `reward + gamma * next value - value`, discounted by `gamma * lambda_`: with 1 it is
    the reward-to-go less the value.
    """
    following = np.append(values[1:], 0)
    return reward_to_go(rewards + gamma * following - values, gamma * lambda_)


def normalised(brought: np.ndarray) -> np.ndarray:
    """(N,) weights of a batch's actions, from what each brought: to mean 0 and sd 1.

    With all rewards negative, say, every action would be made less likely, the best ones the least: only the mean
    taken away sets the better half against the worse.
    """
    weights: np.ndarray = (brought - brought.mean()) / (brought.std() + 1e-9)
    return weights


class WeighActions(ConnectorV2):  # type: ignore[misc]
    """The last piece of the learner's pipeline: adds `ADVANTAGES` and `VALUE_TARGETS` to a batch of whole episodes.

    `immediate`: the step's own reward, as the course's sample has it. `reward-to-go`: all that came after the action,
    discounted. `advantage`: the same less the value that the critic expected of the state, which leaves the gradient's
    mean as it is and makes it less noisy; with `lambda_` below 1 less noisy still, but with the critic's errors in it.
    """

    def __init__(self, *spaces: Any, weights: Weights, gamma: float, lambda_: float) -> None:
        super().__init__(*spaces)
        self.weights, self.gamma, self.lambda_ = weights, gamma, lambda_

    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: Sequence[SingleAgentEpisode], **kwargs: Any
    ) -> Any:
        module, columns = rl_module[DEFAULT_MODULE_ID], batch[DEFAULT_MODULE_ID]
        rewards = [episode.get_rewards() for episode in episodes]
        gamma = 0.0 if self.weights == "immediate" else self.gamma
        targets = brought = np.concatenate([reward_to_go(each, gamma) for each in rewards])
        if self.weights == "advantage":
            with torch.no_grad():
                values = module.compute_values(columns).cpu().numpy()
            parts = np.split(values, np.cumsum([len(each) for each in rewards])[:-1])
            pairs = zip(rewards, parts, strict=True)
            brought = np.concatenate([advantages(*pair, self.gamma, self.lambda_) for pair in pairs])
        device = columns[Columns.OBS].device
        columns[Postprocessing.ADVANTAGES] = torch.from_numpy(normalised(brought)).to(device)
        columns[Postprocessing.VALUE_TARGETS] = torch.from_numpy(targets).to(device)
        return batch


class ReinforceLearner(TorchLearner):  # type: ignore[misc]
    """On each batch the policy takes one step; then the critic, where there is one, several towards the reward-to-go.

    The policy may take no second step, as it is no longer the one that played the batch. What a state is worth is plain
    regression, for which a batch serves again and again. The two share no weights, and Adam passes over the network
    that a loss doesn't reach.
    """

    def build(self) -> None:
        super().build()
        self._learner_connector.append(
            WeighActions(weights=self.config.weights, gamma=self.config.gamma, lambda_=self.config.lambda_)
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: "ReinforceConfig", batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        module = self.module[module_id].unwrapped()
        played = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        policy_loss = -(batch[Postprocessing.ADVANTAGES] * played.logp(batch[Columns.ACTIONS])).mean()
        entropy = played.entropy().mean()
        self.metrics.log_dict({POLICY_LOSS_KEY: policy_loss, ENTROPY_KEY: entropy}, key=module_id, window=1)
        loss: torch.Tensor = policy_loss - config.entropy_coeff * entropy
        return loss

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> Any:
        updated = super()._update(batch, **kwargs)
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        if isinstance(module, ValueFunctionAPI):
            self._fit_critic(module, batch[DEFAULT_MODULE_ID])
        return updated

    def _fit_critic(self, module: ValueFunctionAPI, batch: dict[str, Any]) -> None:
        for _ in range(self.config.critic_steps):
            error = (module.compute_values(batch) - batch[Postprocessing.VALUE_TARGETS]) / RETURN_SCALE
            gradients = self.compute_gradients({DEFAULT_MODULE_ID: error.square().mean()})
            self.apply_gradients(self.postprocess_gradients(gradients))


class ReinforceConfig(AlgorithmConfig):  # type: ignore[misc]
    """Settings of `Reinforce` beyond those that all of RLlib's algorithms share."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Reinforce)
        self.weights: Weights = "reward-to-go"
        self.lambda_ = 1.0
        self.entropy_coeff = 0.0
        self.critic_steps = 1
        self.episodes_to_numpy = False  # parts of episodes are joined, which RLlib does for lists only

    def get_default_learner_class(self) -> type[TorchLearner]:
        return ReinforceLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=Actor, model_config={"hidden": [64, 64]})

    def training(
        self, *, weights: Weights, lambda_: float, entropy_coeff: float, critic_steps: int, **common: Any
    ) -> "ReinforceConfig":
        """Args: actions' weights, and lambda of advantages; weight of the entropy bonus; critic's steps a batch."""
        super().training(**common)
        self.weights, self.lambda_ = weights, lambda_
        self.entropy_coeff, self.critic_steps = entropy_coeff, critic_steps
        return self


class Reinforce(Algorithm):  # type: ignore[misc]
    """Play a batch of steps, learn once from each episode that ended in it, tell the env runners.

    An episode goes on over iterations and is learnt from when it has ended: to start anew each time and take the first
    that end would be to see only the short ones. Its first steps may so have been played by a policy some updates old.
    """

    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        self._parts: dict[str, SingleAgentEpisode] = {}

    @classmethod
    def get_default_config(cls) -> ReinforceConfig:
        return ReinforceConfig()

    def training_step(self) -> None:
        ended: list[SingleAgentEpisode] = []
        while not ended:
            parts, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=self.config.total_train_batch_size,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
            ended = self._ended(parts)
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        learnt = self.learner_group.update(episodes=ended, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps})
        self.metrics.aggregate(learnt, key=LEARNER_RESULTS)
        self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)

    def _ended(self, parts: Sequence[SingleAgentEpisode]) -> list[SingleAgentEpisode]:
        """The episodes that these parts complete; what goes on is kept."""
        ended = []
        for part in parts:
            if part.id_ in self._parts:
                self._parts[part.id_].concat_episode(part)
            else:
                self._parts[part.id_] = copy.deepcopy(part)  # an env runner in this process counts with the part itself
            if part.is_done:
                ended.append(self._parts.pop(part.id_).to_numpy())
        return ended
