"""`python -m tests.benchmarks.time_to_200_stock SEED OUT`: PPO of Stable-Baselines3 until its mean return is 200, with
the settings of RL Baselines3 Zoo (hyperparams/ppo.yml, LunarLander)."""

import sys
from pathlib import Path

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from tests.benchmarks.mean_return import MAX_STEPS, Clock


class Watch(BaseCallback):
    """Ends the training when the clock says so; that is asked after each rollout."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out, self.over = out, False

    def _on_training_start(self) -> None:
        self.clock = Clock()

    def _on_step(self) -> bool:
        self.clock.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return not self.over

    def _on_rollout_end(self) -> None:
        self.over = self.clock.is_over(self.num_timesteps, self.out)


def main(seed: int, out: Path) -> None:
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy",
        make_vec_env("LunarLander-v3", n_envs=16, seed=seed),
        n_steps=1024,
        batch_size=64,
        gae_lambda=0.98,
        gamma=0.999,
        n_epochs=4,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
    )
    model.learn(MAX_STEPS, callback=Watch(out))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
