"""REINFORCE as an RLlib algorithm: its update against the formula in plain numpy and torch, the episodes it uses."""

import copy
from collections.abc import Sequence
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
from labs.rl.ppo import discounted_sums, generalised_advantages
from labs.rl.reinforce import ReinforceConfig
from labs.rl.rl_modules import RETURN_SCALE, Actor, ActorCritic

LAB = labs.get("rl")
GAMMA, LAMBDA, LR, ENTROPY = 0.9, 0.8, 0.01, 0.02
LENGTHS = (1, 4, 7)
WHOLE = ("terminated", "terminated", "terminated")
CUT = ("terminated", "truncated", "truncated")


def made_episodes(ends: Sequence[str] = WHOLE) -> list[SingleAgentEpisode]:
    """Episodes of several lengths, with observations, actions and rewards drawn at random."""
    generator = np.random.default_rng(0)
    return [
        SingleAgentEpisode(
            observations=list(generator.normal(size=(steps + 1, 8)).astype(np.float32)),
            actions=list(generator.integers(4, size=steps)),
            rewards=generator.normal(scale=50, size=steps).tolist(),
            terminated=end == "terminated",
            truncated=end == "truncated",
            len_lookback_buffer=0,
        ).to_numpy()
        for steps, end in zip(LENGTHS, ends, strict=True)
    ]


def returns(rewards: np.ndarray, credit: str, last_value: float = 0.0) -> list[float]:
    """The immediate reward or the discounted return from each step of an episode on, sum by sum.

    `last_value` stands for the rewards that would have followed after a cut.
    """
    if credit == "immediate":
        return rewards.tolist()
    steps = range(len(rewards))
    terms = [*rewards, last_value]
    return [sum(GAMMA ** (k - t) * terms[k] for k in range(t, len(terms))) for t in steps]


def advantages(rewards: np.ndarray, values: np.ndarray, last_value: float) -> list[float]:
    """Generalised advantage estimates: the discounted TD errors of each step and all later ones, sum by sum."""
    next_values = [*values[1:], last_value]
    td_errors = [r + GAMMA * after - v for r, after, v in zip(rewards, next_values, values, strict=True)]
    later = range(len(rewards))
    return [sum((GAMMA * LAMBDA) ** (k - t) * td_errors[k] for k in later[t:]) for t in later]


def update_by_the_formula(module: Any, episodes: list[SingleAgentEpisode], credit: str, critic_steps: int) -> None:
    """One step of Adam on the policy's loss as the papers write it, several on the critic's; in place."""
    observations = torch.from_numpy(np.concatenate([episode.get_observations()[:-1] for episode in episodes]))
    actions = torch.from_numpy(np.concatenate([episode.get_actions() for episode in episodes]))
    psi = np.concatenate([returns(episode.get_rewards(), credit) for episode in episodes])
    if credit == "advantage":
        values = [critic_values(module, episode) for episode in episodes]
        # A terminal state has the value 0; where the time limit cut the episode, the critic says what would follow.
        lasts = [0.0 if e.is_terminated else v[-1] for e, v in zip(episodes, values, strict=True)]
        ended = list(zip(episodes, values, lasts, strict=True))
        psi = np.concatenate([advantages(e.get_rewards(), v[:-1], last) for e, v, last in ended])
        targets = np.concatenate([returns(e.get_rewards(), credit, last) for e, _, last in ended])
        optimizer = torch.optim.Adam(module.critic.parameters(), lr=LR)
        for _ in range(critic_steps):
            predicted = module.critic(observations).squeeze(1)
            optimizer.zero_grad()
            F.mse_loss(predicted, torch.tensor(targets / RETURN_SCALE, dtype=torch.float32)).backward()
            optimizer.step()
    normalised = torch.tensor((psi - np.mean(psi)) / np.std(psi), dtype=torch.float32)
    log_probs = F.log_softmax(module.actor(observations), 1)
    of_actions = log_probs[torch.arange(len(actions)), actions]
    optimizer = torch.optim.Adam(module.actor.parameters(), lr=LR)
    (-(normalised * of_actions).mean() + ENTROPY * (log_probs.exp() * log_probs).sum(1).mean()).backward()
    optimizer.step()


def critic_values(module: Any, episode: SingleAgentEpisode) -> np.ndarray:
    """(T + 1,) values of all states of an episode, in points."""
    with torch.no_grad():
        values: np.ndarray = module.critic(torch.from_numpy(episode.get_observations())).squeeze(1).numpy()
    return RETURN_SCALE * values


def built_learner(credit: str, critic_steps: int, grad_clip: float | None = None) -> Any:
    """A learner with one hidden layer. Noise is added to all weights, because the last layers start near zero."""
    config = ReinforceConfig().training(
        credit=credit,  # type: ignore[arg-type]
        lambda_=LAMBDA,
        entropy_coeff=ENTROPY,
        critic_steps=critic_steps,
        gamma=GAMMA,
        lr=LR,
        grad_clip=grad_clip,
    )
    module_class = ActorCritic if credit == "advantage" else Actor
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class, model_config={"hidden": [8]}))
    torch.manual_seed(0)
    learner = config.build_learner(env=gym.make("LunarLander-v3"))
    with torch.no_grad():
        for parameter in learner.module["default_policy"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 2)
    return learner


@pytest.mark.parametrize("ends", [WHOLE, CUT])
@pytest.mark.parametrize(
    ("credit", "critic_steps"), [("immediate", 1), ("reward-to-go", 1), ("advantage", 1), ("advantage", 5)]
)
def test_an_update_is_that_of_the_formula(credit: str, critic_steps: int, ends: Sequence[str]) -> None:
    """A cut episode goes on with the critic's value of its last state; without a critic nothing follows it."""
    learner = built_learner(credit, critic_steps)
    module = learner.module["default_policy"]
    expected = copy.deepcopy(module)
    update_by_the_formula(expected, made_episodes(ends), credit, critic_steps)
    learner.update(episodes=made_episodes(ends))
    torch.testing.assert_close(dict(module.state_dict()), dict(expected.state_dict()), rtol=0, atol=1e-5)


def test_more_critic_steps_lower_the_value_error_and_do_not_change_the_policys_step() -> None:
    observations = torch.from_numpy(np.concatenate([episode.get_observations()[:-1] for episode in made_episodes()]))
    targets = np.concatenate([returns(episode.get_rewards(), "advantage") for episode in made_episodes()])
    errors, actors = [], []
    for critic_steps in 1, 10, 100:
        learner = built_learner("advantage", critic_steps, grad_clip=0.5)
        learner.update(episodes=made_episodes())
        module = learner.module["default_policy"]
        values = module.compute_values({"obs": observations}).detach().numpy()
        errors.append(float(np.square(values - targets).mean()))
        actors.append(dict(module.actor.state_dict()))
    assert errors[0] > errors[1] > errors[2]
    for actor in actors[1:]:
        torch.testing.assert_close(actor, actors[0], rtol=0, atol=0)


def test_advantages_with_lambda_one_are_the_rewards_to_go_less_the_values() -> None:
    generator = np.random.default_rng(0)
    rewards, values = torch.from_numpy(generator.normal(size=(2, 50)))
    expected = (discounted_sums(rewards, GAMMA) - values).float()
    found = generalised_advantages(rewards, torch.cat([values, torch.zeros(1)]), GAMMA, lambda_=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_each_episode_is_used_once_and_whole(free_cpus: None, tmp_path: Path) -> None:
    """Batches of 60 steps in 3 environments cut every episode into several chunks."""
    config = LAB.resolve("medium", "tiny", {"batch_size": 60, "num_env_runners": 0, "envs_per_runner": 3})
    used: list[SingleAgentEpisode] = []
    with rllib.running(rllib.algorithm_config(config, seed=0, gpu=False), tmp_path) as algorithm:
        update = algorithm.learner_group.update

        def watched(*, episodes: list[SingleAgentEpisode], **others: Any) -> Any:
            used.extend(episodes)
            return update(episodes=episodes, **others)

        algorithm.learner_group.update = watched
        collected = [algorithm.train()["env_runners"] for _ in range(6)]
    assert len({episode.id_ for episode in used}) == len(used) >= 6
    assert all(episode.is_done and episode.t_started == 0 and len(episode) > 40 for episode in used)
    for episode in used:
        assert len(episode.get_observations()) - 1 == len(episode.get_actions()) == len(episode.get_rewards())
    assert collected[-1]["num_episodes_lifetime"] == len(used)
    all_returns = [episode.get_return() for episode in used]
    assert collected[0]["episode_return_mean"] == pytest.approx(
        np.mean(all_returns[: int(collected[0]["num_episodes"])]), rel=1e-5
    )
