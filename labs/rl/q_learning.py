"""Deep Q-learning on RLlib's new API stack: its DQN's learner, with a memory of arrays.

RLlib's own replay buffer makes an object of every step that is drawn: some 5,000 a second were learnt from, with this
memory 48,000 (one core, minibatches of 128). And no checkpoint of plain tensors could hold it.
"""

from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.dqn import DQN, DQNConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME


class Memory:
    """The last `capacity` steps that were played. Draws with torch's own generator, which `Run` seeds each epoch."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self._count = capacity, 0
        self._steps = {
            Columns.OBS: torch.zeros(capacity, 8),
            Columns.NEXT_OBS: torch.zeros(capacity, 8),
            Columns.ACTIONS: torch.zeros(capacity, dtype=torch.int64),
            Columns.REWARDS: torch.zeros(capacity),
            Columns.TERMINATEDS: torch.zeros(capacity, dtype=torch.bool),
        }

    def __len__(self) -> int:
        return min(self._count, self.capacity)

    def add(self, part: SingleAgentEpisode) -> None:
        """Remember the steps of a part of an episode, in place of the oldest."""
        observations, length = np.stack(part.get_observations()), len(part)
        terminated = np.zeros(length, bool)
        terminated[-1] = part.is_terminated
        seen = (observations[:-1], observations[1:], part.get_actions(), part.get_rewards(), terminated)
        at = torch.arange(self._count, self._count + length) % self.capacity
        for column, values in zip(self._steps.values(), seen, strict=True):
            column[at] = torch.from_numpy(np.array(values)).to(column.dtype)
        self._count += length

    def draw(self, count: int) -> SampleBatch:
        """So many steps, each as likely as any other, again and again."""
        at = torch.randint(len(self), (count,))
        return SampleBatch(
            {name: column[at] for name, column in self._steps.items()}
            | {"weights": torch.ones(count), "n_step": torch.ones(count)}
        )

    def state_dict(self) -> dict[str, Any]:
        # Clones, as a file would hold all of the storage that a view is of.
        return {"count": self._count, **{name: column[: len(self)].clone() for name, column in self._steps.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count = state["count"]
        for name, column in self._steps.items():
            column[: len(self)] = state[name]


class QLearning(DQN):  # type: ignore[misc]
    """Play some steps in each environment, learn from `training_intensity` remembered ones for each, and so on."""

    def setup(self, config: DQNConfig) -> None:
        super().setup(config)
        self.memory = Memory(config.replay_buffer_config["capacity"])

    def training_step(self) -> None:
        parts, results = synchronous_parallel_sample(
            worker_set=self.env_runner_group,
            sample_timeout_s=self.config.sample_timeout_s,
            _uses_new_env_runners=True,
            _return_metrics=True,
        )
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        for part in parts:
            self.memory.add(part)
        minibatch = self.config.total_train_batch_size
        updates = max(1, round(self.config.training_intensity * sum(len(part) for part in parts) / minibatch))
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        drawn = MultiAgentBatch({DEFAULT_MODULE_ID: self.memory.draw(updates * minibatch)}, updates * minibatch)
        learnt = self.learner_group.update(
            batch=drawn, minibatch_size=minibatch, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
        )
        self.metrics.aggregate(learnt, key=LEARNER_RESULTS)
        self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)
