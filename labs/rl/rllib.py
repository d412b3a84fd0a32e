"""The lab's algorithms on RLlib's new API stack: settings, a running algorithm, what a checkpoint holds."""

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
from ray.rllib.algorithms import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from labs.rl.game import ENVIRONMENT
from labs.rl.module import RETURN_SCALE, Actor, ActorCritic, QNetwork
from labs.rl.q_learning import QLearning
from labs.rl.reinforce import ReinforceConfig

if TYPE_CHECKING:
    from labs.rl.lesson import ReinforcementConfig

RUNNER_CPUS = 0.5
"""CPUs of an env runner: it idles while the learner learns, and the other way round."""

FRAGMENT = 8
"""Steps that DQN plays in each environment before it learns."""


def settings(config: "ReinforcementConfig", seed: int, gpu: bool) -> AlgorithmConfig:
    """RLlib's settings for ours; the learner lives in this process, the env runners are actors of their own."""
    chosen = {"reinforce": reinforce, "ppo": ppo, "dqn": dqn}[config.algorithm](config)
    chosen.environment(ENVIRONMENT)
    chosen.env_runners(
        num_env_runners=config.num_env_runners,
        num_envs_per_env_runner=config.envs_per_runner,
        num_cpus_per_env_runner=RUNNER_CPUS,
        rollout_fragment_length=FRAGMENT if config.algorithm == "dqn" else "auto",
    )
    chosen.learners(num_learners=0, num_gpus_per_learner=int(gpu))
    module = QNetwork if config.algorithm == "dqn" else ActorCritic if config.critic else Actor
    chosen.rl_module(rl_module_spec=RLModuleSpec(module_class=module, model_config={"hidden": list(config.hidden)}))
    chosen.reporting(metrics_num_episodes_for_smoothing=config.batch_size)  # all episodes of an iteration
    chosen.debugging(seed=seed, log_level="ERROR")
    return chosen


def common(config: "ReinforcementConfig") -> dict[str, Any]:
    """Settings of the training that all algorithms share, by RLlib's names."""
    return {
        "lr": config.lr,
        "gamma": config.gamma,
        "grad_clip": config.grad_clip,
    }


def policy_gradient(config: "ReinforcementConfig") -> dict[str, Any]:
    """Settings of the training that REINFORCE and PPO share, by RLlib's names."""
    return {
        "lambda_": config.gae_lambda,
        "entropy_coeff": config.entropy,
        "train_batch_size_per_learner": config.batch_size,
        **common(config),
    }


def reinforce(config: "ReinforcementConfig") -> ReinforceConfig:
    return ReinforceConfig().training(
        weights=config.weights, critic_steps=config.critic_steps, **policy_gradient(config)
    )


def dqn(config: "ReinforcementConfig") -> DQNConfig:
    chosen = DQNConfig(algo_class=QLearning).training(
        train_batch_size_per_learner=config.minibatch_size,
        training_intensity=config.passes,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": config.replay},
        target_network_update_freq=config.target_steps,
        double_q=True,
        **common(config),
    )
    chosen.reporting(min_sample_timesteps_per_iteration=config.batch_size)
    return chosen


def ppo(config: "ReinforcementConfig") -> PPOConfig:
    return PPOConfig().training(
        clip_param=config.clip,
        vf_loss_coeff=config.value_weight / RETURN_SCALE**2,
        # RLlib would cut squared value errors above 10, which are all of them here, and adds a KL penalty to the
        # clipped objective, whose moving coefficient no checkpoint holds.
        vf_clip_param=math.inf,
        use_kl_loss=False,
        minibatch_size=config.minibatch_size,
        num_epochs=config.passes,
        **policy_gradient(config),
    )


@contextmanager
def running(chosen: AlgorithmConfig, folder: Path) -> Iterator[Algorithm]:
    """The algorithm, built; stopped at the end, with the Ray that it needed where none was running.

    Args:
        folder: where RLlib may write; its own choice would be a folder in the user's home.
    """

    class Here(chosen.algo_class):  # type: ignore[misc, name-defined]
        def _setup_logdir(self) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            self._logdir = str(folder)

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.|gymnasium\.")
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    starts_ray = not ray.is_initialized()
    if starts_ray:
        cpus = max(os.cpu_count() or 1, math.ceil(1 + RUNNER_CPUS * chosen.num_env_runners))
        ray.init("local", num_cpus=cpus, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    algorithm = None
    try:
        algorithm = Here(config=chosen)
        yield algorithm
    finally:
        if algorithm is not None:
            algorithm.stop()
        torch.use_deterministic_algorithms(was_deterministic)  # RLlib's seeding may switch it on for the whole process
        if starts_ray:
            ray.shutdown()


class Learnt:
    """What a checkpoint holds of an algorithm: the network, Adam's moments and DQN's memory, all plain tensors.

    RLlib's own checkpoints hold pickles. What the environments were doing is lost in both, and with REINFORCE the parts
    of episodes that had not ended.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        (found,) = algorithm.learner_group.foreach_learner(lambda learner: learner)
        learner = found.get()
        self.module: Actor = learner.module[DEFAULT_MODULE_ID]
        ((_, optimizer),) = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
        self._parts = {"module": self.module, "optimizer": optimizer}
        if isinstance(algorithm, QLearning):
            self._parts["memory"] = algorithm.memory

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        # `sync_weights` doesn't wait, and passes over an env runner that is still busy with the sync of the build.
        weights = {COMPONENT_RL_MODULE: self.module.get_state(inference_only=True)}
        self._algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.set_state(weights))
