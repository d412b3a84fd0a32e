"""The lab's algorithms on RLlib's new API stack: their settings, a running algorithm, the state in a checkpoint."""

import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray.rllib.algorithms import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from labs.rl.config import ReinforcementConfig
from labs.rl.env_runner import EnvRunner
from labs.rl.lunar_lander import ENVIRONMENT
from labs.rl.ppo_learner import PPOLearner, ToSteps
from labs.rl.q_learning import QLearning
from labs.rl.reinforce import ReinforceConfig
from labs.rl.rl_modules import RETURN_SCALE, Actor, ActorCritic, QNetwork

RUNNER_CPUS = 0.5
"""CPUs of an environment runner: it waits while the learner updates, and the learner waits while it collects."""

FRAGMENT = 8
"""Steps that DQN collects in each environment between two updates."""


def algorithm_config(config: ReinforcementConfig, seed: int, gpu: bool) -> AlgorithmConfig:
    """RLlib's settings for this config; the learner runs in this process, each environment runner in an actor."""
    settings = {"reinforce": reinforce, "a2c": a2c, "ppo": ppo, "dqn": dqn}[config.algorithm](config)
    settings.environment(ENVIRONMENT)
    settings.env_runners(
        env_runner_cls=EnvRunner,
        num_env_runners=config.num_env_runners,
        num_envs_per_env_runner=config.envs_per_runner,
        num_cpus_per_env_runner=RUNNER_CPUS,
        rollout_fragment_length=FRAGMENT if config.algorithm == "dqn" else "auto",
    )
    settings.learners(num_learners=0, num_gpus_per_learner=int(gpu))
    model_config = {"hidden": list(config.hidden)}
    settings.rl_module(rl_module_spec=RLModuleSpec(module_class=module_class(config), model_config=model_config))
    steps = config.validate_every * config.batch_size
    settings.reporting(
        # `Algorithm.train` goes on until it has collected so many.
        min_sample_timesteps_per_iteration=steps,
        # The mean return is over all episodes that ended meanwhile, of which there are fewer than steps.
        metrics_num_episodes_for_smoothing=steps,
    )
    settings.debugging(seed=seed, log_level="ERROR")
    return settings


def module_class(config: ReinforcementConfig) -> type[Actor]:
    if config.algorithm == "dqn":
        return QNetwork
    return ActorCritic if config.critic else Actor


def common(config: ReinforcementConfig) -> dict[str, Any]:
    """Training settings of all algorithms, by RLlib's names."""
    return {
        "lr": config.lr,
        "gamma": config.gamma,
        "grad_clip": config.grad_clip,
    }


def policy_gradient(config: ReinforcementConfig) -> dict[str, Any]:
    """Training settings of REINFORCE, A2C and PPO, by RLlib's names."""
    return {
        "lambda_": config.gae_lambda,
        "entropy_coeff": config.entropy,
        "train_batch_size_per_learner": config.batch_size,
        **common(config),
    }


def reinforce(config: ReinforcementConfig) -> ReinforceConfig:
    return ReinforceConfig().training(credit=config.credit, critic_steps=config.critic_steps, **policy_gradient(config))


def dqn(config: ReinforcementConfig) -> DQNConfig:
    return DQNConfig(algo_class=QLearning).training(
        train_batch_size_per_learner=config.minibatch_size,
        training_intensity=config.passes,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": config.replay_capacity},
        target_network_update_freq=config.target_steps,
        double_q=True,
        **common(config),
    )


def ppo(config: ReinforcementConfig) -> PPOConfig:
    """Settings of RLlib's PPO, which learns with `labs.rl.ppo`."""
    settings = PPOConfig().training(
        clip_param=config.clip,
        vf_loss_coeff=config.value_weight / RETURN_SCALE**2,
        # By default RLlib clips squared value errors at 10, and nearly all are above: returns reach some hundreds.
        vf_clip_param=math.inf,
        # By default RLlib adds a KL penalty to the clipped objective. No checkpoint holds its adaptive coefficient.
        use_kl_loss=False,
        # RLlib's learner gives the whole batch to one update of `labs.rl.ppo`, which makes the passes.
        minibatch_size=None,
        num_epochs=1,
        **policy_gradient(config),
    )
    settings.learners(
        learner_class=PPOLearner,
        learner_connector=lambda *spaces: ToSteps(*spaces, gamma=config.gamma, lambda_=config.gae_lambda),
        add_default_connectors_to_learner_pipeline=False,
        learner_config_dict={"passes": config.passes, "minibatch_size": config.minibatch_size},
    )
    return settings


def a2c(config: ReinforcementConfig) -> PPOConfig:
    """A2C as a special case of PPO (Huang et al., arXiv:2205.09123): one step on each batch as a whole.

    The present policy is then the one that collected the batch, so that each ratio r_t(theta) is 1. The objective is
    not clipped there, and its gradient is A_t grad log pi(a_t | s_t). Unlike in Mnih et al. the optimizer is Adam,
    actor and critic share no layer, and the advantages are normalised, all as in this lab's PPO.
    """
    return ppo(config.model_copy(update={"passes": 1, "minibatch_size": config.batch_size}))


@contextmanager
def running(settings: AlgorithmConfig, folder: Path) -> Iterator[Algorithm]:
    """The algorithm, built; stopped at the end, together with Ray where Ray was not running before.

    Args:
        folder: where RLlib may write, in place of a folder in the user's home.
    """

    class InFolder(settings.algo_class):  # type: ignore[misc, name-defined]
        def _setup_logdir(self) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            self._logdir = str(folder)

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"ray\.|gymnasium\.")
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    starts_ray = not ray.is_initialized()
    if starts_ray:
        cpus = max(os.cpu_count() or 1, math.ceil(1 + RUNNER_CPUS * settings.num_env_runners))
        ray.init("local", num_cpus=cpus, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    algorithm = None
    try:
        algorithm = InFolder(config=settings)
        yield algorithm
    finally:
        if algorithm is not None:
            algorithm.stop()
        torch.use_deterministic_algorithms(was_deterministic)  # RLlib's seeding may switch it on for the whole process
        if starts_ray:
            ray.shutdown()


class LearnerState:
    """The part of an algorithm that a checkpoint holds: network, Adam's moments, replay buffer, all plain tensors.

    RLlib's own checkpoints hold pickles. Neither holds the state of the environments, nor REINFORCE's chunks of
    episodes that have not ended.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        (result,) = algorithm.learner_group.foreach_learner(lambda learner: learner)
        learner = result.get()
        self.module: Actor = learner.module[DEFAULT_MODULE_ID]
        ((_, optimizer),) = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
        self._state = {"module": self.module, "optimizer": optimizer}
        if isinstance(algorithm, QLearning):
            self._state["replay_buffer"] = algorithm.replay_buffer

    def state_dict(self) -> dict[str, Any]:
        return {name: each.state_dict() for name, each in self._state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, each in self._state.items():
            each.load_state_dict(state[name])
        # `sync_weights` does not wait, and skips a runner that is still busy with the synchronisation of the build.
        weights = {COMPONENT_RL_MODULE: self.module.get_state(inference_only=True)}
        self._algorithm.env_runner_group.foreach_env_runner(lambda runner: runner.set_state(weights))
