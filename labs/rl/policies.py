"""The actor network, and policies that choose actions with it. Torch only: a trained actor needs no RLlib."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

Policy = Callable[[np.ndarray], np.ndarray]
"""A function from observations (B, 8) to actions (B,)."""


def mlp(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """A tanh network with orthogonal weights; the last layer's are small, so that the first policy is near uniform."""
    layers: list[nn.Module] = []
    for width, next_width in pairwise([inputs, *hidden]):
        layers += [orthogonal(nn.Linear(width, next_width), 2**0.5), nn.Tanh()]
    return nn.Sequential(*layers, orthogonal(nn.Linear([inputs, *hidden][-1], outputs), 0.01))


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def greedy(actor: nn.Module) -> Policy:
    """The policy that takes the most probable action."""

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            actions: np.ndarray = actor(torch.from_numpy(observations)).argmax(1).numpy()
        return actions

    return act


def sampled(actor: nn.Module, seed: int) -> Policy:
    """The stochastic policy that was trained: actions are sampled with the actor's probabilities."""
    generator = torch.Generator().manual_seed(seed)

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            probabilities = actor(torch.from_numpy(observations)).softmax(1)
        actions: np.ndarray = torch.multinomial(probabilities, 1, generator=generator).squeeze(1).numpy()
        return actions

    return act


def uniform(actions: int, seed: int) -> Policy:
    """The random policy: each of so many actions is equally probable."""
    generator = np.random.default_rng(seed)
    return lambda observations: generator.integers(actions, size=len(observations))


def policy(actor: nn.Module, selection: str) -> Policy:
    """The actor's `greedy` or `sampled` policy; the latter with a fixed seed, so that both are deterministic."""
    return greedy(actor) if selection == "greedy" else sampled(actor, seed=0)
