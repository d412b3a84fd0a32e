"""Double deep Q-learning on RLlib's new API stack: the learner of its DQN, with a replay buffer of tensors.

RLlib's own replay buffer makes a Python object of every step that is sampled: the learner processed some 5,000 steps a
second with it, and 48,000 with this one (one core, minibatches of 128). A checkpoint of plain tensors could not hold
RLlib's, either.
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

from labs.rl.lunar_lander import OBSERVATIONS


class ReplayBuffer:
    """The last `capacity` steps. Samples with torch's global generator, which `Run` seeds at each epoch's start."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self._added = capacity, 0
        self._steps = {
            Columns.OBS: torch.zeros(capacity, OBSERVATIONS),
            Columns.NEXT_OBS: torch.zeros(capacity, OBSERVATIONS),
            Columns.ACTIONS: torch.zeros(capacity, dtype=torch.int64),
            Columns.REWARDS: torch.zeros(capacity),
            Columns.TERMINATEDS: torch.zeros(capacity, dtype=torch.bool),
        }

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def add(self, chunk: SingleAgentEpisode) -> None:
        """Store the steps of a chunk of an episode; they replace the oldest ones where the buffer is full."""
        observations, length = np.stack(chunk.get_observations()), len(chunk)
        terminated = np.zeros(length, bool)
        terminated[-1] = chunk.is_terminated
        columns = (observations[:-1], observations[1:], chunk.get_actions(), chunk.get_rewards(), terminated)
        rows = torch.arange(self._added, self._added + length) % self.capacity
        for stored, values in zip(self._steps.values(), columns, strict=True):
            stored[rows] = torch.from_numpy(np.array(values)).to(stored.dtype)
        self._added += length

    def sample(self, count: int) -> SampleBatch:
        """So many steps, uniformly and with replacement."""
        rows = torch.randint(len(self), (count,))
        return SampleBatch(
            {name: column[rows] for name, column in self._steps.items()}
            | {"weights": torch.ones(count), "n_step": torch.ones(count)}
        )

    def state_dict(self) -> dict[str, Any]:
        # Clones, because a file would hold the whole storage that a slice is a view of.
        return {"count": self._added, **{name: column[: len(self)].clone() for name, column in self._steps.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._added = state["count"]
        for name, column in self._steps.items():
            column[: len(self)] = state[name]


class QLearning(DQN):  # type: ignore[misc]
    """Collect some steps in each environment, then learn from `training_intensity` times as many replayed ones."""

    def setup(self, config: DQNConfig) -> None:
        super().setup(config)
        self.replay_buffer = ReplayBuffer(config.replay_buffer_config["capacity"])

    def training_step(self) -> None:
        # Collect steps, epsilon-greedily.
        chunks, runner_results = synchronous_parallel_sample(
            worker_set=self.env_runner_group,
            sample_timeout_s=self.config.sample_timeout_s,
            _uses_new_env_runners=True,
            _return_metrics=True,
        )
        self.metrics.aggregate(runner_results, key=ENV_RUNNER_RESULTS)
        for chunk in chunks:
            self.replay_buffer.add(chunk)
        # Sample all minibatches of this iteration at once, and update on one after the other.
        minibatch = self.config.total_train_batch_size
        collected = sum(len(chunk) for chunk in chunks)
        count = max(1, round(self.config.training_intensity * collected / minibatch)) * minibatch
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: self.replay_buffer.sample(count)}, count)
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        learner_results = self.learner_group.update(
            batch=batch, minibatch_size=minibatch, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}
        )
        self.metrics.aggregate(learner_results, key=LEARNER_RESULTS)
        # Send the new weights to the environment runners.
        self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, inference_only=True)
