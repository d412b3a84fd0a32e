"""Deep Q-learning: its replay buffer, its loss against the formula, its exploration."""

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
from labs.rl.q_learning import ReplayBuffer
from labs.rl.rl_modules import RETURN_SCALE, QNetwork

LAB = labs.get("rl")
GAMMA = 0.9


def chunk(first: int, steps: int, terminated: bool = False, truncated: bool = False) -> SingleAgentEpisode:
    """A chunk of an episode, in which each observation, action and reward is made from the number of its step."""
    numbers = range(first, first + steps + 1)
    return SingleAgentEpisode(
        observations=[np.full(8, number, np.float32) for number in numbers],
        actions=[number % 4 for number in numbers[:-1]],
        rewards=[float(number) for number in numbers[:-1]],
        terminated=terminated,
        truncated=truncated,
        len_lookback_buffer=0,
    )


def stored(replay_buffer: ReplayBuffer) -> set[tuple[float, ...]]:
    """(observation, action, reward, next observation, whether it is terminal) of all steps."""
    batch = replay_buffer.sample(1000)
    columns = [batch["obs"][:, 0], batch["actions"], batch["rewards"], batch["new_obs"][:, 0], batch["terminateds"]]
    return set(zip(*(column.tolist() for column in columns), strict=True))


def test_a_replay_buffer_samples_the_steps_as_they_were_collected() -> None:
    replay_buffer = ReplayBuffer(100)
    replay_buffer.add(chunk(0, 3))
    replay_buffer.add(chunk(3, 2, terminated=True))
    replay_buffer.add(chunk(10, 1, truncated=True))
    assert stored(replay_buffer) == {
        (0, 0, 0, 1, False),
        (1, 1, 1, 2, False),
        (2, 2, 2, 3, False),
        (3, 3, 3, 4, False),
        (4, 0, 4, 5, True),
        (10, 2, 10, 11, False),  # truncated by the time limit: the state still has a value
    }


def test_a_full_replay_buffer_drops_the_oldest_steps() -> None:
    replay_buffer = ReplayBuffer(5)
    for first in 0, 4, 8:
        replay_buffer.add(chunk(first, 4))
    assert len(replay_buffer) == 5
    assert {step[0] for step in stored(replay_buffer)} == {7, 8, 9, 10, 11}


def test_a_replay_buffer_continues_from_its_state() -> None:
    replay_buffer, other = ReplayBuffer(5), ReplayBuffer(5)
    for first in 0, 4:
        replay_buffer.add(chunk(first, 4))
    other.load_state_dict(replay_buffer.state_dict())
    for each in replay_buffer, other:
        each.add(chunk(8, 2))
    assert stored(other) == stored(replay_buffer) == {(n, n % 4, n, n + 1, False) for n in (5, 6, 7, 8, 9)}


def network(epsilon: float) -> Any:
    """A Q-network whose biases make action 2 the best."""
    environment = gym.make("LunarLander-v3")
    spec = RLModuleSpec(
        module_class=QNetwork,
        observation_space=environment.observation_space,
        action_space=environment.action_space,
        model_config={"hidden": [8]},
    )
    net = spec.build()
    net.actor[-1].bias.data = torch.tensor([0.0, 0.1, 0.3, 0.2])
    net.epsilon.fill_(epsilon)
    return net


@pytest.mark.parametrize(
    ("epsilon", "fractions"), [(0.0, [0, 0, 1, 0]), (0.4, [0.1, 0.1, 0.7, 0.1]), (1.0, [0.25, 0.25, 0.25, 0.25])]
)
def test_a_fraction_epsilon_of_the_actions_is_random(epsilon: float, fractions: list[float]) -> None:
    torch.manual_seed(0)
    actions = network(epsilon).forward_exploration({"obs": torch.zeros(20_000, 8)}, t=0)["actions"]
    assert torch.bincount(actions, minlength=4).numpy() / 20_000 == pytest.approx(np.array(fractions), abs=0.01)


def test_the_loss_is_that_of_double_q_learning(free_cpus: None, tmp_path: Path) -> None:
    """The Q-network selects the next action, the target network evaluates it; a terminal state has no value."""
    config = LAB.resolve("dqn", "tiny", {"num_env_runners": 0, "gamma": GAMMA, "minibatch_size": 64})
    replay_buffer = ReplayBuffer(100)
    for terminated in True, False:
        replay_buffer.add(chunk(-5, 10, terminated=terminated))
    batch = replay_buffer.sample(64)
    with rllib.running(rllib.algorithm_config(config, seed=0, gpu=False), tmp_path) as algorithm:
        net: Any = rllib.LearnerState(algorithm).module
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter) / 2)
        rows = torch.arange(64)
        q_values = RETURN_SCALE * net.actor(batch["obs"])
        selected = net.actor(batch["new_obs"]).argmax(1)
        next_values = RETURN_SCALE * net.target(batch["new_obs"])[rows, selected]
        target = batch["rewards"] + GAMMA * next_values * ~batch["terminateds"]
        expected = F.huber_loss(q_values[rows, batch["actions"]], target).item()
        (learner,) = algorithm.learner_group.foreach_learner(lambda one: one)
        loss = learner.get().compute_loss_for_module(
            module_id="default_policy", config=algorithm.config, batch=batch, fwd_out=net.forward_train(batch)
        )
    assert batch["terminateds"].any()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
