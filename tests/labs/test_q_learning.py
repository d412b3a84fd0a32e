"""Deep Q-learning: what is remembered, its loss against the formula, how it explores."""

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
from labs.rl.module import RETURN_SCALE, QNetwork
from labs.rl.q_learning import Memory

LAB = labs.get("rl")
GAMMA = 0.9


def part(first: int, steps: int, terminated: bool = False, truncated: bool = False) -> SingleAgentEpisode:
    """A part of an episode; each observation repeats its number, each action and reward tell it."""
    numbers = range(first, first + steps + 1)
    return SingleAgentEpisode(
        observations=[np.full(8, number, np.float32) for number in numbers],
        actions=[number % 4 for number in numbers[:-1]],
        rewards=[float(number) for number in numbers[:-1]],
        terminated=terminated,
        truncated=truncated,
        len_lookback_buffer=0,
    )


def remembered(memory: Memory) -> set[tuple[float, ...]]:
    """(observation, action, reward, next observation, whether it was the end) of all steps."""
    drawn = memory.draw(1000)
    columns = [drawn["obs"][:, 0], drawn["actions"], drawn["rewards"], drawn["new_obs"][:, 0], drawn["terminateds"]]
    return set(zip(*(column.tolist() for column in columns), strict=True))


def test_a_memory_draws_the_steps_as_they_were_played() -> None:
    memory = Memory(100)
    memory.add(part(0, 3))
    memory.add(part(3, 2, terminated=True))
    memory.add(part(10, 1, truncated=True))
    assert remembered(memory) == {
        (0, 0, 0, 1, False),
        (1, 1, 1, 2, False),
        (2, 2, 2, 3, False),
        (3, 3, 3, 4, False),
        (4, 0, 4, 5, True),
        (10, 2, 10, 11, False),  # cut off by the clock: what would have come is still worth something
    }


def test_a_full_memory_forgets_the_oldest_steps() -> None:
    memory = Memory(5)
    for first in 0, 4, 8:
        memory.add(part(first, 4))
    assert len(memory) == 5
    assert {step[0] for step in remembered(memory)} == {7, 8, 9, 10, 11}


def test_a_memory_continues_from_its_state() -> None:
    memory, other = Memory(5), Memory(5)
    for first in 0, 4:
        memory.add(part(first, 4))
    other.load_state_dict(memory.state_dict())
    for each in memory, other:
        each.add(part(8, 2))
    assert remembered(other) == remembered(memory) == {(n, n % 4, n, n + 1, False) for n in (5, 6, 7, 8, 9)}


def network(epsilon: float) -> Any:
    """A Q-network whose biases say that action 2 is the best."""
    game = gym.make("LunarLander-v3")
    spec = RLModuleSpec(
        module_class=QNetwork,
        observation_space=game.observation_space,
        action_space=game.action_space,
        model_config={"hidden": [8]},
    )
    net = spec.build()
    net.actor[-1].bias.data = torch.tensor([0.0, 0.1, 0.3, 0.2])
    net.epsilon.fill_(epsilon)
    return net


@pytest.mark.parametrize(
    ("epsilon", "shares"), [(0.0, [0, 0, 1, 0]), (0.4, [0.1, 0.1, 0.7, 0.1]), (1.0, [0.25, 0.25, 0.25, 0.25])]
)
def test_a_share_epsilon_of_the_actions_is_any_one(epsilon: float, shares: list[float]) -> None:
    torch.manual_seed(0)
    actions = network(epsilon).forward_exploration({"obs": torch.zeros(20_000, 8)}, t=0)["actions"]
    assert torch.bincount(actions, minlength=4).numpy() / 20_000 == pytest.approx(np.array(shares), abs=0.01)


def test_the_loss_is_that_of_double_q_learning(ray_session: None, tmp_path: Path) -> None:
    """The network chooses the next action, the target network says what it is worth; no worth after the end."""
    config = LAB.resolve("dqn", "tiny", {"num_env_runners": 0, "gamma": GAMMA, "minibatch_size": 64})
    memory = Memory(100)
    for terminated in True, False:
        memory.add(part(-5, 10, terminated=terminated))
    batch = memory.draw(64)
    with rllib.running(rllib.settings(config, seed=0, gpu=False), tmp_path) as algorithm:
        learnt = rllib.Learnt(algorithm)
        net: Any = learnt.module
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter) / 2)
        now = RETURN_SCALE * net.actor(batch["obs"])
        choice = net.actor(batch["new_obs"]).argmax(1)
        after = RETURN_SCALE * net.target(batch["new_obs"])
        rows = torch.arange(64)
        goal = batch["rewards"] + GAMMA * after[rows, choice] * ~batch["terminateds"]
        expected = F.huber_loss(now[rows, batch["actions"]], goal).item()
        (learner,) = algorithm.learner_group.foreach_learner(lambda one: one)
        loss = learner.get().compute_loss_for_module(
            module_id="default_policy", config=algorithm.config, batch=batch, fwd_out=net.forward_train(batch)
        )
    assert batch["terminateds"].any()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
