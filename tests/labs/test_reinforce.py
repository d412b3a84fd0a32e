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
from labs.rl.reinforce import ReinforceConfig, advantages, reward_to_go

LAB = labs.get("rl")
GAMMA, LAMBDA, LR, ENTROPY = 0.9, 0.8, 0.01, 0.02
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


def gains(rewards: np.ndarray, values: np.ndarray) -> list[float]:
    """Generalised advantage estimates: the surprise of each step and, sum by sum, of all later ones."""
    following = [*values[1:], 0.0]
    surprises = [r + GAMMA * after - v for r, after, v in zip(rewards, following, values, strict=True)]
    later = range(len(rewards))
    return [sum((GAMMA * LAMBDA) ** (k - t) * surprises[k] for k in later[t:]) for t in later]


def update_by_the_formula(module: Any, episodes: list[SingleAgentEpisode], weights: str, critic_steps: int) -> None:
    """One step of Adam down the policy's loss as the papers write it, several down the critic's; in place."""
    observations = torch.from_numpy(np.concatenate([episode.get_observations()[:-1] for episode in episodes]))
    actions = torch.from_numpy(np.concatenate([episode.get_actions() for episode in episodes]))
    brought = np.concatenate([worth(episode.get_rewards(), weights) for episode in episodes])
    better = brought
    if weights == "advantage":
        values = RETURN_SCALE * module.critic(observations).squeeze(1).detach().numpy()
        parts = np.split(values, np.cumsum(LENGTHS)[:-1])
        better = np.concatenate([gains(e.get_rewards(), part) for e, part in zip(episodes, parts, strict=True)])
        optimizer = torch.optim.Adam(module.critic.parameters(), lr=LR)
        for _ in range(critic_steps):
            expected = module.critic(observations).squeeze(1)
            optimizer.zero_grad()
            F.mse_loss(expected, torch.tensor(brought / RETURN_SCALE, dtype=torch.float32)).backward()
            optimizer.step()
    weight = torch.tensor((better - np.mean(better)) / np.std(better), dtype=torch.float32)
    logs = F.log_softmax(module.actor(observations), 1)
    chosen = logs[torch.arange(len(actions)), actions]
    optimizer = torch.optim.Adam(module.actor.parameters(), lr=LR)
    (-(weight * chosen).mean() + ENTROPY * (logs.exp() * logs).sum(1).mean()).backward()
    optimizer.step()


def built_learner(weights: str, critic_steps: int, grad_clip: float | None = None) -> Any:
    """A learner with one hidden layer; the last layers start near zero, which would hide the critic, so all move."""
    config = ReinforceConfig().training(
        weights=weights,  # type: ignore[arg-type]
        lambda_=LAMBDA,
        entropy_coeff=ENTROPY,
        critic_steps=critic_steps,
        gamma=GAMMA,
        lr=LR,
        grad_clip=grad_clip,
    )
    module_class = ActorCritic if weights == "advantage" else Actor
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class, model_config={"hidden": [8]}))
    torch.manual_seed(0)
    learner = config.build_learner(env=gym.make("LunarLander-v3"))
    with torch.no_grad():
        for parameter in learner.module["default_policy"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 2)
    return learner


@pytest.mark.parametrize(
    ("weights", "critic_steps"), [("immediate", 1), ("reward-to-go", 1), ("advantage", 1), ("advantage", 5)]
)
def test_an_update_is_that_of_the_formula(weights: str, critic_steps: int) -> None:
    learner = built_learner(weights, critic_steps)
    module = learner.module["default_policy"]
    expected = copy.deepcopy(module)
    update_by_the_formula(expected, made_episodes(), weights, critic_steps)
    learner.update(episodes=made_episodes())
    torch.testing.assert_close(dict(module.state_dict()), dict(expected.state_dict()), rtol=0, atol=1e-5)


def test_more_steps_bring_the_critic_nearer_to_the_rewards_to_go_and_leave_the_policys_step_alone() -> None:
    observations = torch.from_numpy(np.concatenate([episode.get_observations()[:-1] for episode in made_episodes()]))
    brought = np.concatenate([worth(episode.get_rewards(), "advantage") for episode in made_episodes()])
    errors, actors = [], []
    for critic_steps in 1, 10, 100:
        learner = built_learner("advantage", critic_steps, grad_clip=0.5)
        learner.update(episodes=made_episodes())
        module = learner.module["default_policy"]
        values = module.compute_values({"obs": observations}).detach().numpy()
        errors.append(float(np.square(values - brought).mean()))
        actors.append(dict(module.actor.state_dict()))
    assert errors[0] > errors[1] > errors[2]
    for actor in actors[1:]:
        torch.testing.assert_close(actor, actors[0], rtol=0, atol=0)


def test_advantages_with_lambda_one_are_the_rewards_to_go_less_the_values() -> None:
    generator = np.random.default_rng(0)
    rewards, values = generator.normal(size=(2, 50))
    expected = reward_to_go(rewards, GAMMA) - values
    np.testing.assert_allclose(advantages(rewards, values, GAMMA, lambda_=1), expected, atol=1e-5)


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
