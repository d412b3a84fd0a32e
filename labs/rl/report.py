"""The report of homework 12."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labs.core import curves
from labs.core.lab import Lab
from labs.core.report import Report

METHODS = {
    "immediate": """REINFORCE as in the course's sample: the log-probability of an action is weighted by the reward of
        its own step, so that an action is not credited with what it leads to.""",
    "reward-to-go": """REINFORCE with the discounted reward-to-go: an action is weighted by all rewards that follow
        it, which is the policy gradient, but varies much from episode to episode.""",
    "advantage": """REINFORCE with a baseline: a second network, the critic, estimates the return that is to be
        expected in a state, and an action is weighted by how much better it was, its advantage. The gradient's
        expectation is that of the policy gradient, its variance is lower.""",
    "a2c": """A2C, the synchronous advantage actor-critic: after a few steps of each environment it updates actor and
        critic once. The return of an action is the rewards of these steps, and for all later ones the critic's value of
        the last state, so that no episode needs to end first, as it does for the policy gradient.""",
    "ppo": """PPO, an actor-critic method: as REINFORCE with a baseline it weights actions by their advantages, but
        takes many steps on each batch. Its objective stops growing where an action's probability has changed by more
        than a factor of 1 + clip, so that the policy stays near the one that collected the batch.""",
    "dqn": """Double deep Q-learning, which has no policy network: it learns the return of each action in each state
        from single steps of a replay buffer, and acts greedily. A policy gradient needs new episodes of the present
        policy; Q-learning uses old steps again.""",
}
"""Method of a run, REINFORCE's by its credit -> how it differs from the plain policy gradient."""


def write(lab: Lab, folder: Path, out: Path, returns: Mapping[str, Sequence[float]], selection: str) -> None:
    """Write the report of a run's folder.

    Args:
        returns: `greedy` and `sampled` -> returns of further test episodes.
        selection: which of the two was delivered.
    """
    config, report = lab.read_config(folder), Report(lab, folder, out)

    report.question("a")
    report.text(METHODS[_method(config)])
    labels = {"train/return": "training episodes", "val/return": "validation episodes"}
    figure = curves.figure(folder, _method(config), [("mean return, points", labels)])
    report.figure("returns", figure, "Mean return by epoch; 200 counts as solved.")
    steps = curves.history(folder, "train/env_steps")[1][-1]
    report.text(f"The run took {steps:,.0f} steps in the environment.")

    report.question("b")
    report.text(f"""The table has the returns of {len(returns[selection])} further episodes. The {selection} actions
                were delivered, as they were better in episodes that were used for nothing else.""")
    header = ("actions", "mean return", "standard deviation", "lowest", "highest")
    report.table(header, [(name, *_summary(values)) for name, values in returns.items()])
    report.image("landing.gif", "The first test episode.")

    report.question("c")
    report.text(f"""A model that it learns. AlphaZero searches the moves that the rules of the game allow; MuZero
                (arXiv:1911.08265) is not given the rules, and its search runs in hidden states that its dynamics
                function predicts, with their rewards. This run does not plan at all: it is model-free, and tried its
                actions in the environment itself, in all {steps:,.0f} steps.""")

    report.question("d")
    report.text(f"""A part of the prediction function, which gives a policy and a value in each state:
                {_learnt(config)}. The representation (from observation to hidden state) and the dynamics (from hidden
                state and action to the next one and its reward) have no counterpart: a model-free run predicts neither
                states nor rewards.""")
    report.write()


def _method(config: Any) -> str:
    return str(config.credit if config.algorithm == "reinforce" else config.algorithm)


def _learnt(config: Any) -> str:
    """What the run's networks predict, in MuZero's words."""
    if config.algorithm == "dqn":
        return "here the value of each action, which stands for both"
    return "here the policy (the actor) and the value (the critic)" if config.critic else "here the policy alone"


def _summary(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(measure(values)) for measure in (np.mean, np.std, np.min, np.max))
