"""REINFORCE as an RLlib algorithm: its update against the formula in plain numpy and torch, and what it learns from."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from torch.nn import functional as F

import labs
from labs.rl import rllib
from labs.rl.module import RETURN_SCALE, Actor, ActorCritic
from labs.rl.reinforce import ReinforceConfig

LAB = labs.get("rl")
GAMMA, LR, ENTROPY, VALUE = 0.9, 0.01, 0.02, 0.003
LENGTHS = (1, 4, 7)


def made_episodes() -> list[SingleAgentEpisode]:
    """Whole episodes of several lengths, with observations, actions and rewards drawn at random."""
    generator = np.random.default_rng(0)
    return [
        SingleAgentEpisode(
            observations=list(generator.normal(size=(steps + 1, 8)).astype(np.float32)),
            actions=list(generator.integers(4, size=steps)),
            rewards=generator.normal(scale=50, size=steps).tolist(),
            terminated=True,
            len_lookback_buffer=0,
        ).to_numpy()
        for steps in LENGTHS
    ]


def worth(rewards: np.ndarray, weights: str) -> list[float]:
    """What an episode's actions brought, sum by sum."""
    if weights == "immediate":
        return rewards.tolist()
    later = range(len(rewards))
    return [sum(GAMMA ** (k - t) * rewards[k] for k in later[t:]) for t in later]


def step_by_the_formula(module: Any, episodes: list[SingleAgentEpisode], weights: str) -> None:
    """One step of Adam down the loss as the papers write it; the module is changed in place."""
    observations = torch.from_numpy(np.concatenate([episode.get_observations()[:-1] for episode in episodes]))
    actions = torch.from_numpy(np.concatenate([episode.get_actions() for episode in episodes]))
    brought = np.concatenate([worth(episode.get_rewards(), weights) for episode in episodes])
    loss = torch.zeros(())
    better = brought
    if weights == "advantage":
        expected = RETURN_SCALE * module.critic(observations).squeeze(1)
        better = brought - expected.detach().numpy()
        loss = loss + VALUE * F.mse_loss(expected, torch.tensor(brought, dtype=torch.float32))
    weight = torch.tensor((better - np.mean(better)) / np.std(better), dtype=torch.float32)
    logs = F.log_softmax(module.actor(observations), 1)
    chosen = logs[torch.arange(len(actions)), actions]
    loss = loss - (weight * chosen).mean() + ENTROPY * (logs.exp() * logs).sum(1).mean()
    optimizer = torch.optim.Adam(module.parameters(), lr=LR)
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("weights", ["immediate", "reward-to-go", "advantage"])
def test_an_update_is_the_step_of_the_formula(weights: str) -> None:
    config = ReinforceConfig().training(
        weights=weights,  # type: ignore[arg-type]
        entropy_coeff=ENTROPY,
        vf_loss_coeff=VALUE,
        gamma=GAMMA,
        lr=LR,
    )
    config.rl_module(
        rl_module_spec=RLModuleSpec(
            module_class=ActorCritic if weights == "advantage" else Actor, model_config={"hidden": [8]}
        )
    )
    learner = config.build_learner(env=gym.make("LunarLander-v3"))
    module = learner.module["default_policy"]
    with torch.no_grad():
        for parameter in module.parameters():  # the last layers start near zero, which would hide the critic
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 2)
    expected = copy.deepcopy(module)
    step_by_the_formula(expected, made_episodes(), weights)
    learner.update(episodes=made_episodes())
    torch.testing.assert_close(dict(module.state_dict()), dict(expected.state_dict()), rtol=0, atol=1e-5)


def test_each_episode_is_learnt_from_once_and_whole(ray_session: None, tmp_path: Path) -> None:
    """Batches of 60 steps in 3 environments cut every episode into several parts."""
    config = LAB.resolve("medium", "tiny", {"batch_size": 60, "num_env_runners": 0, "envs_per_runner": 3})
    learnt: list[SingleAgentEpisode] = []
    with rllib.running(rllib.settings(config, seed=0, gpu=False), tmp_path) as algorithm:
        update = algorithm.learner_group.update

        def watched(*, episodes: list[SingleAgentEpisode], **others: Any) -> Any:
            learnt.extend(episodes)
            return update(episodes=episodes, **others)

        algorithm.learner_group.update = watched
        played = [algorithm.train()["env_runners"] for _ in range(6)]
    assert len({episode.id_ for episode in learnt}) == len(learnt) >= 6
    assert all(episode.is_done and episode.t_started == 0 and len(episode) > 40 for episode in learnt)
    for episode in learnt:
        assert len(episode.get_observations()) - 1 == len(episode.get_actions()) == len(episode.get_rewards())
    assert played[-1]["num_episodes_lifetime"] == len(learnt)
    returns = [episode.get_return() for episode in learnt]
    assert played[0]["episode_return_mean"] == pytest.approx(
        np.mean(returns[: int(played[0]["num_episodes"])]), rel=1e-5
    )
