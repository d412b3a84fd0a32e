"""An environment runner for RLlib that costs little more than its environments.

RLlib's own runner passes each step of each environment through connectors, which took three times as long as the
environments themselves. The observations and actions of this lab need no connector.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode


@dataclass
class Chunk:
    """What one call of `sample` collects of an episode."""

    observations: list[np.ndarray]
    first: int = 0
    """The call's step with which the chunk begins."""
    id: str = field(default_factory=lambda: uuid4().hex)
    """The episode's."""
    t_started: int = 0
    """Steps of the episode in the calls before."""
    earlier_return: float = 0.0
    """Sum of their rewards."""
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    def continued(self) -> "Chunk":
        """The same episode's chunk in the next call, still without a step."""
        steps, total = self.t_started + len(self.rewards), self.earlier_return + sum(self.rewards)
        return Chunk(self.observations[-1:], id=self.id, t_started=steps, earlier_return=total)

    def episode(self, outputs: dict[str, np.ndarray]) -> SingleAgentEpisode:
        """The chunk as RLlib takes it; `outputs` has the policy's columns, (steps of the call, ...) each."""
        own = {name: list(column[self.first : self.first + len(self.rewards)]) for name, column in outputs.items()}
        return SingleAgentEpisode(
            id_=self.id,
            t_started=self.t_started,
            observations=self.observations,
            actions=own.pop(Columns.ACTIONS),
            rewards=self.rewards,
            extra_model_outputs=own,
            terminated=self.terminated,
            truncated=self.truncated,
            len_lookback_buffer=0,
        )


class EnvRunner(SingleAgentEnvRunner):  # type: ignore[misc]
    """Steps its environments side by side, with one forward pass of the policy for all of them."""

    def make_env(self) -> None:
        super().make_env()
        seeds = np.random.SeedSequence(self._seed).generate_state(self.num_envs).tolist()
        resets = (each.reset(seed=seed) for each, seed in zip(self.env.unwrapped.envs, seeds, strict=True))
        self._chunks = [Chunk([observation]) for observation, _ in resets]

    def sample(self, **kwargs: Any) -> list[SingleAgentEpisode]:
        """`rollout_fragment_length` steps of each environment: the episodes that end in them, then those that go on."""
        environments = self.env.unwrapped.envs
        outputs: list[dict[str, torch.Tensor]] = []
        ended: list[tuple[int, Chunk]] = []
        steps = self.config.get_rollout_fragment_length(self.worker_index)
        for step in range(steps):
            observations = np.stack([chunk.observations[-1] for chunk in self._chunks])
            outputs.append(self.module.forward_exploration({Columns.OBS: torch.from_numpy(observations)}))
            for i, action in enumerate(outputs[-1][Columns.ACTIONS].tolist()):
                chunk = self._chunks[i]
                observation, reward, chunk.terminated, chunk.truncated, _ = environments[i].step(action)
                chunk.observations.append(observation)
                chunk.rewards.append(float(reward))
                if chunk.terminated or chunk.truncated:
                    ended.append((i, chunk))
                    self._chunks[i] = Chunk([environments[i].reset()[0]], first=step + 1)
        self._log(steps, [chunk for _, chunk in ended])
        columns = {name: torch.stack([each[name] for each in outputs]).numpy() for name in outputs[0]}
        going_on = [(i, chunk) for i, chunk in enumerate(self._chunks) if chunk.rewards]
        self._chunks = [chunk.continued() for chunk in self._chunks]
        episodes = [
            chunk.episode({name: column[:, i] for name, column in columns.items()}) for i, chunk in ended + going_on
        ]
        return [episode.to_numpy() for episode in episodes] if self.config.episodes_to_numpy else episodes

    def _log(self, steps: int, ended: list[Chunk]) -> None:
        self._increase_sampled_metrics(steps * self.num_envs, len(ended))
        for chunk in ended:
            whole = chunk.continued()
            self._log_episode_metrics(whole.t_started, whole.earlier_return, 0.0)
