"""PPO on RLlib's new API stack: the network as RLlib wants it, the algorithm's settings, what a checkpoint holds."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule

from labs.rl.game import ENVIRONMENT, mlp

if TYPE_CHECKING:
    from labs.reinforcement import ReinforcementConfig

RETURN_SCALE = 100.0
"""LunarLander's returns go to some hundreds; to learn that scale first would waste the first updates."""
RUNNER_CPUS = 0.5
"""CPUs of an env runner: it idles while the learner learns, and the other way round."""


class ActorCritic(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):  # type: ignore[misc]
    """Two separate MLPs: `actor` (B, 8) -> (B, 4) logits, `critic` (B, 8) -> (B, 1) in units of `RETURN_SCALE`."""

    def setup(self) -> None:
        inputs, actions = self.observation_space.shape[0], int(self.action_space.n)
        self.actor = mlp(inputs, self.model_config["hidden"], actions)
        self.critic = mlp(inputs, self.model_config["hidden"], 1)

    def get_non_inference_attributes(self) -> list[str]:
        return ["critic"]

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.actor(batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        values: torch.Tensor = RETURN_SCALE * self.critic(batch[Columns.OBS]).squeeze(-1)
        return values


def settings(config: "ReinforcementConfig", seed: int, gpu: bool) -> PPOConfig:
    """RLlib's settings for ours; the learner lives in this process, the env runners are actors of their own."""
    ppo = PPOConfig()
    ppo.environment(ENVIRONMENT)
    ppo.env_runners(
        num_env_runners=config.num_env_runners,
        num_envs_per_env_runner=config.envs_per_runner,
        num_cpus_per_env_runner=RUNNER_CPUS,
        rollout_fragment_length="auto",
    )
    ppo.learners(num_learners=0, num_gpus_per_learner=int(gpu))
    ppo.training(
        lr=config.lr,
        gamma=config.gamma,
        lambda_=config.gae_lambda,
        clip_param=config.clip,
        entropy_coeff=config.entropy,
        vf_loss_coeff=config.value_weight / RETURN_SCALE**2,
        # RLlib would cut squared value errors above 10, which are all of them here, and adds a KL penalty to the
        # clipped objective, whose moving coefficient no checkpoint holds.
        vf_clip_param=math.inf,
        use_kl_loss=False,
        grad_clip=config.grad_clip,
        train_batch_size_per_learner=config.batch_size,
        minibatch_size=config.minibatch_size,
        num_epochs=config.passes,
    )
    ppo.rl_module(rl_module_spec=RLModuleSpec(module_class=ActorCritic, model_config={"hidden": list(config.hidden)}))
    ppo.reporting(metrics_num_episodes_for_smoothing=config.batch_size)  # all episodes of an iteration
    ppo.debugging(seed=seed, log_level="ERROR")
    return ppo


@contextmanager
def running(ppo: PPOConfig, folder: Path) -> Iterator[PPO]:
    """The algorithm, built; stopped at the end, with the Ray that it needed where none was running.

    Args:
        folder: where RLlib may write; its own choice would be a folder in the user's home.
    """

    class Here(PPO):  # type: ignore[misc]
        def _setup_logdir(self) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            self._logdir = str(folder)

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.|gymnasium\.")
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    starts_ray = not ray.is_initialized()
    if starts_ray:
        cpus = max(os.cpu_count() or 1, math.ceil(1 + RUNNER_CPUS * ppo.num_env_runners))
        ray.init("local", num_cpus=cpus, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    algorithm = None
    try:
        algorithm = Here(config=ppo)
        yield algorithm
    finally:
        if algorithm is not None:
            algorithm.stop()
        torch.use_deterministic_algorithms(was_deterministic)  # RLlib's seeding may switch it on for the whole process
        if starts_ray:
            ray.shutdown()


class Learnt:
    """What a checkpoint holds of an algorithm: the network and Adam's moments, all plain tensors.

    RLlib's own checkpoints hold pickles. What the environments were doing is lost in both.
    """

    def __init__(self, algorithm: PPO) -> None:
        self._algorithm = algorithm
        (found,) = algorithm.learner_group.foreach_learner(lambda learner: learner)
        learner = found.get()
        self.module: ActorCritic = learner.module[DEFAULT_MODULE_ID]
        ((_, self._optimizer),) = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)

    def state_dict(self) -> dict[str, Any]:
        return {"module": self.module.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        # `sync_weights` doesn't wait, and passes over an env runner that is still busy with the sync of the build.
        weights = {COMPONENT_RL_MODULE: self.module.get_state(inference_only=True)}
        self._algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.set_state(weights))
