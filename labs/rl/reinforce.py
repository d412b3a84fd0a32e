"""REINFORCE on RLlib's new API stack: credit assignment, the learner's loss, one iteration of the algorithm.

The policy gradient theorem: grad J = E[psi_t grad log pi(a_t | s_t)] (Williams 1992; Schulman et al., arXiv:1506.02438,
eq. 1). The presets differ in psi_t, the credit that an action gets: see `CreditAssignment`.

What RLlib calls, and when: `Algorithm.train` calls `Reinforce.training_step`, which collects episodes and passes those
that ended to the learner's `update`. This first runs the learner's connectors, `CreditAssignment` last, which make one
batch of the episodes. Then it calls `_update` once: the module's `forward_train`, `compute_loss_for_module`,
`compute_gradients` (the backward pass), `postprocess_gradients` (clipping), and `apply_gradients`, one optimizer step
of the policy. `ReinforceLearner._update` lets the critic's steps follow.
"""

import copy
from collections.abc import Sequence
from typing import Any

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

from labs.rl.config import Credit
from labs.rl.ppo import discounted_sums, generalised_advantages, normalised
from labs.rl.rl_modules import RETURN_SCALE, Actor


class CreditAssignment(ConnectorV2):  # type: ignore[misc]
    """The last connector of the learner's pipeline: adds `ADVANTAGES`, and with a critic `VALUE_TARGETS`, to the batch.

    The episodes are whole: each ended, in a terminal state or at the time limit.

    psi_t is, before it is normalised (its mean serves as a constant baseline: with rewards that are all negative, every
    action would be made less probable, the best ones least of all),

    immediate      r_t, the reward of the step itself, as in the course's sample;
    reward-to-go   G_t, the discounted sum of this and all later rewards;
    advantage      with `lambda_` 1 the reward-to-go less a baseline, G_t - V(s_t), which leaves the gradient's
                   expectation as it is and lowers its variance; below 1 the generalised advantage estimate, whose
                   variance is lower still, but which is biased by the critic's errors.

    The value targets are the rewards-to-go.

    An episode that the time limit cut off has no terminal state: rewards would have followed. With a critic, V(s_T)
    stands for them in advantages and value targets. Without one there is nothing to estimate them with: the
    reward-to-go counts only the rewards that the agent got, as the metric does, and the actions just before the limit
    are credited as if nothing had followed from them.
    """

    def __init__(self, *spaces: Any, credit: Credit, gamma: float, lambda_: float) -> None:
        super().__init__(*spaces)
        self.credit, self.gamma, self.lambda_ = credit, gamma, lambda_

    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: Sequence[SingleAgentEpisode], **kwargs: Any
    ) -> Any:
        module, columns = rl_module[DEFAULT_MODULE_ID].unwrapped(), batch[DEFAULT_MODULE_ID]
        rewards = [torch.from_numpy(episode.get_rewards()) for episode in episodes]
        device = columns[Columns.OBS].device
        if self.credit == "advantage":
            values = module.state_values(episodes)
            credit = self._advantages(rewards, values)
            columns[Postprocessing.VALUE_TARGETS] = self._value_targets(rewards, values).to(device)
        else:
            gamma = 0.0 if self.credit == "immediate" else self.gamma
            # G_t = sum over l of gamma^l r_{t+l}, which is r_t alone for gamma = 0
            credit = torch.cat([discounted_sums(of_episode, gamma) for of_episode in rewards])
        columns[Postprocessing.ADVANTAGES] = normalised(credit).to(device)
        return batch

    def _advantages(self, rewards: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(
            [generalised_advantages(r, v, self.gamma, self.lambda_) for r, v in zip(rewards, values, strict=True)]
        )

    def _value_targets(self, rewards: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> torch.Tensor:
        # G_t = sum over l < T - t of gamma^l r_{t+l}, + gamma^(T-t) V(s_T)
        return torch.cat(
            [discounted_sums(torch.cat([r, v[-1:]]), self.gamma)[:-1] for r, v in zip(rewards, values, strict=True)]
        )


class ReinforceLearner(TorchLearner):  # type: ignore[misc]
    """On each batch the policy takes one step; then the critic, where there is one, several towards the reward-to-go.

    The policy gradient is an expectation over the present policy's actions, and after one step the batch is another
    policy's. The critic's regression has no such restriction. Actor and critic have no parameters in common, and Adam
    skips parameters without a gradient, so one optimizer serves both.
    """

    def build(self) -> None:
        super().build()
        self._learner_connector.append(
            CreditAssignment(credit=self.config.credit, gamma=self.config.gamma, lambda_=self.config.lambda_)
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: "ReinforceConfig", batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        module = self.module[module_id].unwrapped()
        policy = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        # -E[psi_t log pi(a_t | s_t)], whose gradient is the negative policy gradient, -E[psi_t grad log pi(a_t | s_t)]
        policy_loss = -(batch[Postprocessing.ADVANTAGES] * policy.logp(batch[Columns.ACTIONS])).mean()
        entropy = policy.entropy().mean()
        self.metrics.log_dict({POLICY_LOSS_KEY: policy_loss, ENTROPY_KEY: entropy}, key=module_id, window=1)
        # L = E[-psi_t log pi(a_t | s_t) - c S[pi](s_t)]
        loss: torch.Tensor = policy_loss - config.entropy_coeff * entropy
        return loss

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> Any:
        result = super()._update(batch, **kwargs)
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        if isinstance(module, ValueFunctionAPI):
            self._fit_critic(module, batch[DEFAULT_MODULE_ID])
        return result

    def _fit_critic(self, critic: ValueFunctionAPI, batch: dict[str, Any]) -> None:
        for _ in range(self.config.critic_steps):
            # L^VF = E[((V(s_t) - G_t) / RETURN_SCALE)^2]
            error = (critic.compute_values(batch) - batch[Postprocessing.VALUE_TARGETS]) / RETURN_SCALE
            gradients = self.compute_gradients({DEFAULT_MODULE_ID: error.square().mean()})
            self.apply_gradients(self.postprocess_gradients(gradients))


class ReinforceConfig(AlgorithmConfig):  # type: ignore[misc]
    """Settings of `Reinforce` beyond those that all of RLlib's algorithms have."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or Reinforce)
        self.credit: Credit = "reward-to-go"
        self.lambda_ = 1.0
        self.entropy_coeff = 0.0
        self.critic_steps = 1
        self.episodes_to_numpy = False  # RLlib concatenates an episode's chunks only while they hold lists

    def get_default_learner_class(self) -> type[TorchLearner]:
        return ReinforceLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=Actor, model_config={"hidden": [64, 64]})

    def training(
        self, *, credit: Credit, lambda_: float, entropy_coeff: float, critic_steps: int, **common: Any
    ) -> "ReinforceConfig":
        """Set the credit of actions, lambda of the advantages, the entropy coefficient, the critic's steps a batch."""
        super().training(**common)
        self.credit, self.lambda_ = credit, lambda_
        self.entropy_coeff, self.critic_steps = entropy_coeff, critic_steps
        return self


class Reinforce(Algorithm):  # type: ignore[misc]
    """Collect a batch of steps, learn once from each episode that ended in it, send the weights to the runners.

    An episode that has not ended is kept and continued in the next iterations. To begin anew in each iteration and to
    take only the episodes that end in it would select the short ones. The first steps of an episode may therefore come
    from a policy some updates old.
    """

    def setup(self, config: AlgorithmConfig) -> None:
        super().setup(config)
        self._unfinished: dict[str, SingleAgentEpisode] = {}

    @classmethod
    def get_default_config(cls) -> ReinforceConfig:
        return ReinforceConfig()

    def training_step(self) -> None:
        # Collect steps until an episode has ended.
        ended: list[SingleAgentEpisode] = []
        while not ended:
            chunks, runner_results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=self.config.total_train_batch_size,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
            self.metrics.aggregate(runner_results, key=ENV_RUNNER_RESULTS)
            ended = self._ended(chunks)
        # Update the policy once, then the critic.
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        learner_results = self.learner_group.update(episodes=ended, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps})
        self.metrics.aggregate(learner_results, key=LEARNER_RESULTS)
        # Send the new weights to the environment runners.
        self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)

    def _ended(self, chunks: Sequence[SingleAgentEpisode]) -> list[SingleAgentEpisode]:
        """The episodes that end with one of these chunks, complete; those that go on are kept."""
        ended = []
        for chunk in chunks:
            if chunk.id_ in self._unfinished:
                self._unfinished[chunk.id_].concat_episode(chunk)
            else:
                # A copy, because an environment runner in this process still computes metrics from the chunk itself.
                self._unfinished[chunk.id_] = copy.deepcopy(chunk)
            if chunk.is_done:
                ended.append(self._unfinished.pop(chunk.id_).to_numpy())
        return ended
