"""LunarLander outside of training: the network that plays it, the course's test games, the judge that replays them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

ENVIRONMENT = "LunarLander-v3"
"""Gymnasium refuses the course's v2; v3 differs in a mended wind, which is off in both."""
ACTIONS = 4
"""0 nothing, 1 left engine, 2 main engine, 3 right engine."""
SEED = 543
"""The course's: the judge seeds its environment with it once, before the first of the test episodes."""
EPISODES = 5
"""Test episodes of a submission."""
EVALUATION_SEEDS, CHOICE_SEEDS = range(1000, 1020), range(2000, 2020)
"""Environment seeds of further test episodes, as five are few, and of those that decide how to play."""
VALIDATION_SEEDS = range(3000, 3016)
"""Environment seeds of the episodes that say, after each iteration, how well the actor plays now.

The episodes that it learns from can't: few end in an iteration, each is played by several policies, and the next
update may have spoilt the last one.
"""
RANDOM_SEEDS = range(1000, 1100)
"""Environment seeds of the random policy's episodes, which are short and differ much."""
FRAME_EVERY = 5
"""Environment steps (50 a second) between two frames of the film."""

Policy = Callable[[np.ndarray], np.ndarray]
"""Observations (B, 8) to actions (B,)."""


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Tanh layers with orthogonal weights; the last layer starts near zero, so that the first policy is uniform."""
    layers: list[nn.Module] = []
    for width, following in pairwise([inputs, *hidden]):
        layers += [orthogonal(nn.Linear(width, following), 2**0.5), nn.Tanh()]
    return nn.Sequential(*layers, orthogonal(nn.Linear([inputs, *hidden][-1], outputs), 0.01))


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def greedy(actor: nn.Module) -> Policy:
    """The policy that takes the likeliest action."""

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            actions: np.ndarray = actor(torch.from_numpy(observations)).argmax(1).numpy()
        return actions

    return act


def sampled(actor: nn.Module, seed: int) -> Policy:
    """The policy as it was trained: actions drawn with the actor's probabilities."""
    generator = torch.Generator().manual_seed(seed)

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            chances = actor(torch.from_numpy(observations)).softmax(1)
        actions: np.ndarray = torch.multinomial(chances, 1, generator=generator).squeeze(1).numpy()
        return actions

    return act


def at_random(seed: int) -> Policy:
    """The trivial policy: uniform over the actions."""
    generator = np.random.default_rng(seed)
    return lambda observations: generator.integers(ACTIONS, size=len(observations))


def returns(policy: Policy, seeds: Sequence[int]) -> list[float]:
    """Return of one episode for each environment seed, all played side by side, because a policy is fast in batches."""
    games = [gym.make(ENVIRONMENT) for _ in seeds]
    observations = [game.reset(seed=seed)[0] for game, seed in zip(games, seeds, strict=True)]
    totals, playing = [0.0] * len(games), list(range(len(games)))
    while playing:
        actions = policy(np.stack([observations[i] for i in playing]))
        for i, action in zip(list(playing), actions.tolist(), strict=True):
            observations[i], reward, terminated, truncated, _ = games[i].step(action)
            totals[i] += float(reward)
            if terminated or truncated:
                playing.remove(i)
                games[i].close()
    return totals


def policy(actor: nn.Module, way: str) -> Policy:
    """The actor's policy, `greedy` or `sampled`; both repeat themselves."""
    return greedy(actor) if way == "greedy" else sampled(actor, seed=0)


def better_way(actor: nn.Module) -> str:
    """Whichever brings more in episodes that count nowhere else.

    Training is about sampled actions; the likeliest ones alone of an undecided policy can be a much worse policy.
    """
    mean = {way: np.mean(returns(policy(actor, way), CHOICE_SEEDS)) for way in ("greedy", "sampled")}
    return max(mean, key=lambda way: mean[way])


def test_game(**options: Any) -> tuple[gym.Env, np.ndarray]:
    """The judge's environment and its first observation; each further `reset` continues the generator."""
    game = gym.make(ENVIRONMENT, **options)
    game.action_space.seed(SEED)
    return game, game.reset(seed=SEED)[0]


def play_test(policy: Policy) -> list[list[int]]:
    """The actions of the course's test episodes, one list an episode."""
    game, observation = test_game()
    played: list[list[int]] = []
    while len(played) < EPISODES:
        actions, done = [], False
        while not done:
            actions.append(int(policy(observation[None])[0]))
            observation, _, terminated, truncated, _ = game.step(actions[-1])
            done = terminated or truncated
        played.append(actions)
        observation, _ = game.reset()
    return played


def replay(played: Sequence[Sequence[int]]) -> tuple[list[float], str]:
    """What the judge does with a submission.

    Returns:
        The returns of the episodes, and one sentence about the first episode that doesn't end exactly at its last
        action: later ones can't be judged, because their start depends on it.
    """
    game, _ = test_game()
    totals: list[float] = []
    for number, actions in enumerate(played):
        total, done = 0.0, False
        for step, action in enumerate(actions):
            if done:
                return totals, f"episode {number} ends after {step} actions, found {len(actions)}"
            _, reward, terminated, truncated, _ = game.step(action)
            total += float(reward)
            done = terminated or truncated
        if not done:
            return totals, f"episode {number} has not ended after its {len(actions)} actions"
        totals.append(total)
        game.reset()
    return totals, ""


def film(actions: Sequence[int], file: Path) -> None:
    """Write the first test episode as an animated GIF at half size."""
    from PIL import Image

    game, _ = test_game(render_mode="rgb_array")
    frames = []
    for step, action in enumerate(actions):
        game.step(action)
        if step % FRAME_EVERY == 0:
            frames.append(Image.fromarray(game.render()[::2, ::2]).quantize(16))  # type: ignore[call-overload, arg-type]
    game.close()
    frames[0].save(file, save_all=True, append_images=frames[1:], duration=20 * FRAME_EVERY, loop=0)
