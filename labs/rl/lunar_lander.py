"""The environment LunarLander outside of training: evaluation episodes, the course's test episodes and their replay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from torch import nn

from labs.rl.policies import Policy, policy

ENVIRONMENT = "LunarLander-v3"
"""Gymnasium refuses the course's v2; v3 differs in a corrected simulation of wind, which both leave off by default."""
OBSERVATIONS = 8
"""Numbers in an observation."""
ACTIONS = 4
"""0 nothing, 1 left engine, 2 main engine, 3 right engine."""
SEED = 543
"""The course's: the judge seeds its environment with it once, before the first of the test episodes."""
EPISODES = 5
"""Test episodes of a submission."""
EVALUATION_SEEDS = range(1000, 1020)
"""Environment seeds of further test episodes, because five give a noisy mean."""
SELECTION_SEEDS = range(2000, 2020)
"""Environment seeds of the episodes that decide between greedy and sampled actions."""
VALIDATION_SEEDS = range(3000, 3016)
"""Environment seeds of the validation episodes after each epoch, which measure the present actor.

The return of the training episodes does not: few end in an epoch, several policies act in each of them, and the
update that follows may have made the last policy worse.
"""
RANDOM_SEEDS = range(1000, 1100)
"""Environment seeds of the random policy's episodes, which are short and whose returns vary much."""
FRAME_EVERY = 5
"""Environment steps (50 a second) between two frames of the animation."""


def returns(acting: Policy, seeds: Sequence[int]) -> list[float]:
    """The return of one episode for each environment seed.

    All episodes run side by side, because a policy is fast in batches.
    """
    environments = [gym.make(ENVIRONMENT) for _ in seeds]
    observations = [each.reset(seed=seed)[0] for each, seed in zip(environments, seeds, strict=True)]
    totals, running = [0.0] * len(environments), list(range(len(environments)))
    while running:
        actions = acting(np.stack([observations[i] for i in running]))
        for i, action in zip(list(running), actions.tolist(), strict=True):
            observations[i], reward, terminated, truncated, _ = environments[i].step(action)
            totals[i] += float(reward)
            if terminated or truncated:
                running.remove(i)
                environments[i].close()
    return totals


def better_selection(actor: nn.Module) -> str:
    """`greedy` or `sampled`, whichever has the higher mean return in episodes that are used for nothing else.

    Training optimises the policy with sampled actions. Where its entropy is high, the most probable actions alone can
    be a much worse policy.
    """
    mean = {each: np.mean(returns(policy(actor, each), SELECTION_SEEDS)) for each in ("greedy", "sampled")}
    return max(mean, key=lambda selection: mean[selection])


def judge_environment(**options: Any) -> tuple[gym.Env, np.ndarray]:
    """The judge's environment and its first observation; each further `reset` continues its random generator."""
    environment = gym.make(ENVIRONMENT, **options)
    environment.action_space.seed(SEED)
    return environment, environment.reset(seed=SEED)[0]


def test_episodes(acting: Policy) -> list[list[int]]:
    """The policy's actions in the course's test episodes, one list an episode."""
    environment, observation = judge_environment()
    episodes: list[list[int]] = []
    while len(episodes) < EPISODES:
        actions, done = [], False
        while not done:
            actions.append(int(acting(observation[None])[0]))
            observation, _, terminated, truncated, _ = environment.step(actions[-1])
            done = terminated or truncated
        episodes.append(actions)
        observation, _ = environment.reset()
    return episodes


def replay(episodes: Sequence[Sequence[int]]) -> tuple[list[float], str]:
    """Take the actions of a submission in the judge's environment, as the judge does.

    Returns:
        The returns of the episodes, and one sentence about the first episode that does not end exactly at its last
        action. Later episodes can't be judged then, because their first state depends on it.
    """
    environment, _ = judge_environment()
    totals: list[float] = []
    for number, actions in enumerate(episodes):
        total, done = 0.0, False
        for step, action in enumerate(actions):
            if done:
                return totals, f"episode {number} ends after {step} actions, found {len(actions)}"
            _, reward, terminated, truncated, _ = environment.step(action)
            total += float(reward)
            done = terminated or truncated
        if not done:
            return totals, f"episode {number} has not ended after its {len(actions)} actions"
        totals.append(total)
        environment.reset()
    return totals, ""


def animate(actions: Sequence[int], file: Path) -> None:
    """Write the first test episode as an animated GIF at half size."""
    from PIL import Image

    environment, _ = judge_environment(render_mode="rgb_array")
    frames = []
    for step, action in enumerate(actions):
        environment.step(action)
        if step % FRAME_EVERY == 0:
            frame = environment.render()
            frames.append(Image.fromarray(frame[::2, ::2]).quantize(16))  # type: ignore[call-overload, index]
    environment.close()
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=20 * FRAME_EVERY, loop=0)
