"""PPO of Stable-Baselines3 on LunarLander as in its documentation, the reference for the rl lab's speed.

`python stock_reinforcement.py SETTINGS OUT`: settings as JSON; writes a JSON list, environment steps per second of each
iteration, in which steps are collected and learnt from.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from torch import nn


class Starts(BaseCallback):
    """Records when each iteration begins."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def _on_rollout_start(self) -> None:
        self.times.append(time.perf_counter())

    def _on_step(self) -> bool:
        return True


def main(settings: dict[str, Any], out: Path) -> None:
    environments = make_vec_env("LunarLander-v3", n_envs=settings["envs"], seed=0)
    model = PPO(
        "MlpPolicy",
        environments,
        learning_rate=settings["lr"],
        n_steps=settings["batch_size"] // settings["envs"],
        batch_size=settings["minibatch_size"],
        n_epochs=settings["passes"],
        gamma=settings["gamma"],
        gae_lambda=settings["gae_lambda"],
        ent_coef=settings["entropy"],
        policy_kwargs={"net_arch": settings["hidden"], "activation_fn": nn.Tanh},
        device="cpu",
    )
    starts = Starts()
    model.learn(settings["iterations"] * settings["batch_size"], callback=starts)
    times = [*starts.times, time.perf_counter()]
    out.write_text(json.dumps([settings["batch_size"] / (end - start) for start, end in pairwise(times)]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
