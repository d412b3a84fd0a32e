"""Homework 12, reinforcement learning: land a craft on the moon.

Task
    LunarLander: from the craft's position, speed, angle, turn rate and two leg contacts (8 numbers) choose one of
    four actions (nothing, left, main, right engine), 50 times a second. Landing on the pad pays 100 to 140 and
    another 100 for coming to rest, a crash costs 100, fuel costs a little.
Data
    None: the agent makes its own by playing.
Metric
    Mean return (sum of an episode's rewards) over the course's five test episodes, higher is better, in points. The
    course's thresholds were shown on the judge's site only; the public yardstick is 200 = solved. A random policy
    gets about -200. After each iteration the actor plays 16 episodes of its own, `val/return`; the best one is kept.
Ladder
    simple   REINFORCE as the course's sample has it (but Adam): each action weighed by the reward of its own step
    medium   by its reward-to-go, the discounted sum of its and all later rewards: what an action led to
    strong   by its advantage over what a critic, a second network, expected of the state: REINFORCE with a baseline,
             and with generalised advantage estimation, where the critic also stands in for most of what came later.
             The critic takes many steps on each batch, the policy one
    boss     PPO, the best-known actor-critic: a clipped objective lets the policy, too, take many steps on a batch
Outside the ladder
    dqn      no policy gradient: double deep Q-learning, the value of each action, from steps that a memory brings up
Papers
    Williams, Simple statistical gradient-following algorithms (REINFORCE, Machine Learning 8, 1992); Schulman et al.,
    Generalized Advantage Estimation (arXiv:1506.02438) and Proximal Policy Optimization (arXiv:1707.06347); Liang et
    al., RLlib (arXiv:1712.09381); Mnih et al., DQN (Nature 518, 2015); van Hasselt et al., Double DQN
    (arXiv:1509.06461).
"""

import json
import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from labs import COURSE
from labs.core.config import Config
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_weights
from labs.rl import game

METRIC = COURSE["rl"].metric

REINFORCE_AT_COURSE = {"iterations": 500, "batch_size": 4096, "envs_per_runner": 16, "lr": 5e-3}
"""As many steps as PPO plays, but a batch gives one update, so they are cut into more batches; and fewer environments
play longer parts of an episode in each, so that few updates come between its start and its end."""


class ReinforcementConfig(Config):
    algorithm: Literal["reinforce", "ppo", "dqn"] = "ppo"
    """`reinforce`: one policy update a batch, from whole episodes; `ppo`: many, from parts of episodes and a critic;
    `dqn`: no policy but the value of each action, learnt from single steps that a memory brings up again."""
    weights: Literal["immediate", "reward-to-go", "advantage"] = "advantage"
    """What REINFORCE weighs an action by: its own reward, also all later ones, or their gain on the critic's values."""
    iterations: int = Field(250, ge=1)
    """Iterations of playing `batch_size` steps and learning from them."""
    batch_size: int = Field(8192, ge=1)
    """Environment steps of an iteration, over all environments."""
    minibatch_size: int = Field(512, ge=1)
    """Steps of one gradient update of PPO and DQN; REINFORCE makes one of the whole batch."""
    critic_steps: int = Field(40, ge=1)
    """Gradient steps of REINFORCE's critic on a batch, of which the policy takes one."""
    passes: int = Field(8, ge=1)
    """PPO's passes over an iteration's steps; DQN learns from as many remembered steps for each that is played."""
    replay: int = Field(200_000, ge=100, le=10_000_000)
    """Steps that DQN remembers."""
    target_steps: int = Field(1000, ge=1)
    """Steps played until DQN's target network, which says what the next state is worth, is made anew."""
    exploration: float = Field(0.2, gt=0, le=1)
    """Share of the training over which DQN's share of random actions falls from 1 to 0.05."""
    num_env_runners: int = Field(2, ge=0)
    """Actors that play, half a CPU each; with 0 the learner's process plays."""
    envs_per_runner: int = Field(32, ge=1)
    """Environments that one actor plays side by side: the policy is asked once for all of them."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the actor, and of the critic."""
    lr: float = Field(5e-4, gt=0)
    """Adam's learning rate."""
    gamma: float = Field(0.999, ge=0, le=1)
    """Discount of a reward one step later."""
    gae_lambda: float = Field(0.98, ge=0, le=1)
    """Advantage estimation, between one-step (0: low variance, biased by the critic) and whole episodes (1)."""
    clip: float = Field(0.2, gt=0)
    """How far PPO may move an action's probability from that of the policy that played it, relative."""
    entropy: float = Field(0.01, ge=0)
    """Weight of the bonus for undecided policies, which keeps the agent trying."""
    value_weight: float = Field(0.5, ge=0)
    """Weight of the squared error of PPO's critic, counted in hundreds of points."""
    grad_clip: float = Field(0.5, gt=0)
    """Largest norm of the gradient."""

    @model_validator(mode="after")
    def _fits(self) -> "ReinforcementConfig":
        if self.algorithm != "reinforce" and self.minibatch_size > self.batch_size:
            raise ValueError(f"minibatch_size {self.minibatch_size} is above batch_size {self.batch_size}")
        return self

    @property
    def critic(self) -> bool:
        """Whether there is a network that learns values."""
        return self.algorithm == "ppo" or (self.algorithm == "reinforce" and self.weights == "advantage")


def train(config: ReinforcementConfig, run: Run) -> None:
    from labs.rl import rllib  # RLlib takes seconds to import, and a trained actor needs none of it

    settings = rllib.settings(config, run.seed, gpu=run.device.type == "cuda")
    with rllib.running(settings, run.folder / "rllib") as algorithm:
        learnt = rllib.Learnt(algorithm)
        progress, way = {"env_steps": 0}, "greedy" if config.algorithm == "dqn" else "sampled"
        for epoch in run.epochs(config.iterations, state={"learnt": learnt, "progress": progress}):
            if config.algorithm == "dqn":
                learnt.module.epsilon.fill_(max(0.05, 1 - epoch / (config.exploration * config.iterations)))
            start = time.perf_counter()
            result = algorithm.train()
            seconds = time.perf_counter() - start

            played, learner = result["env_runners"], result["learners"]["default_policy"]
            steps = int(played["num_env_steps_sampled"])
            progress["env_steps"] += steps
            run.log({"train/loss": float(learner["total_loss"]), "train/env_steps": progress["env_steps"]})
            run.log({"perf/samples_per_s": steps / seconds})
            if "entropy" in learner:
                run.log({"train/entropy": float(learner["entropy"])})
            if played.get("num_episodes", 0):
                run.log({"train/return": float(played["episode_return_mean"])})
            actor = deepcopy(learnt.module.actor).cpu()
            run.log({"val/return": float(np.mean(game.returns(game.policy(actor, way), game.VALIDATION_SEEDS)))})
            run.best(METRIC, actor)


def load(folder: Path) -> nn.Module:
    """The actor: (B, 8) observations to (B, 4) action logits."""
    config = LAB.read_config(folder)
    return load_weights(folder, game.mlp(8, config.hidden, game.ACTIONS))


def predict(model: nn.Module, observations: np.ndarray) -> np.ndarray:
    """(B, 8) float32 -> (B, 4) action logits, float32."""
    with torch.no_grad():
        logits: np.ndarray = model(torch.from_numpy(observations)).numpy()
    return logits


def example(data_dir: Path) -> np.ndarray:
    """The first three observations of the test game in free fall, (3, 8); there is no data to look into."""
    lander, observation = game.test_game()
    return np.stack([observation, lander.step(0)[0], lander.step(0)[0]])


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Play the test episodes and write what was played.

    `Action_List.npy` is what the course's judge takes, an object array that numpy pickles; `Action_List.json` says
    the same safely. `evaluation.json` says whether actions were greedy or sampled, with the returns of further
    episodes played in both ways; `landing.gif` shows the first test episode.
    """
    actor = load(folder)
    way = game.better_way(actor)
    played = game.play_test(game.policy(actor, way))
    out.mkdir(parents=True, exist_ok=True)
    (out / LAB.submission).write_text(json.dumps(played))
    actions = np.empty(len(played), dtype=object)
    actions[:] = played
    np.save(out / "Action_List.npy", actions, allow_pickle=True)
    further = {each: game.returns(game.policy(actor, each), game.EVALUATION_SEEDS) for each in ("greedy", "sampled")}
    (out / "evaluation.json").write_text(json.dumps({"played": way, **further}))
    game.film(played[0], out / "landing.gif")


def check_submission(file: Path) -> list[str]:
    """Faults of an `Action_List.json`; the `.npy` is a pickle, which nobody should open from a stranger."""
    try:
        played: Any = json.loads(file.read_text())
    except ValueError as error:
        return [f"{file.name} is not JSON: {error}"]
    if not isinstance(played, list) or len(played) != game.EPISODES:
        found = f"a list of {len(played)}" if isinstance(played, list) else type(played).__name__
        return [f"{file.name}: expected a list of {game.EPISODES} episodes, found {found}"]
    for number, actions in enumerate(played):
        if not isinstance(actions, list):
            return [f"{file.name} episode {number}: expected a list of actions, found {type(actions).__name__}"]
        for step, action in enumerate(actions):
            if type(action) is not int or not 0 <= action < game.ACTIONS:
                return [f"{file.name} episode {number} action {step}: expected 0, 1, 2 or 3, found {action!r}"]
    _, fault = game.replay(played)
    return [f"{file.name}: {fault}"] if fault else []


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """`test/return` as the judge counts it; of 20 more episodes, less of a lottery: as delivered, and in either way."""
    totals, _ = game.replay(json.loads((delivered / LAB.submission).read_text()))
    further = json.loads((delivered / "evaluation.json").read_text())
    return {
        "test/return": float(np.mean(totals)),
        "test/return_20": float(np.mean(further[further["played"]])),
        "test/greedy_20": float(np.mean(further["greedy"])),
        "test/sampled_20": float(np.mean(further["sampled"])),
        "test/trivial": float(np.mean(game.returns(game.at_random(seed=0), game.RANDOM_SEEDS))),
    }


def space() -> dict[str, dict[str, object]]:
    reinforce, ppo, dqn = ({"algorithm": name} for name in ("reinforce", "ppo", "dqn"))
    return {
        "algorithm": {"type": "choice", "values": ["reinforce", "ppo", "dqn"]},
        "weights": {"type": "choice", "values": ["immediate", "reward-to-go", "advantage"], "when": reinforce},
        "lr": {"type": "loguniform", "low": 1e-4, "high": 2e-2},
        "gamma": {"type": "uniform", "low": 0.98, "high": 0.999},
        "gae_lambda": {"type": "uniform", "low": 0.9, "high": 1.0, "when": ppo},
        "clip": {"type": "uniform", "low": 0.1, "high": 0.3, "when": ppo},
        "entropy": {"type": "loguniform", "low": 1e-4, "high": 3e-2},
        "value_weight": {"type": "loguniform", "low": 0.1, "high": 2.0, "when": ppo},
        "hidden": {"type": "choice", "values": [[16, 16], [32, 32], [64, 64], [128, 128], [256, 256]]},
        "batch_size": {"type": "choice", "values": [1024, 2048, 4096, 8192, 16384]},
        "minibatch_size": {"type": "choice", "values": [256, 512, 1024], "when": ppo},
        "passes": {"type": "randint", "low": 4, "high": 12, "when": ppo},
        "target_steps": {"type": "randint", "low": 200, "high": 5000, "when": dqn},
        "exploration": {"type": "uniform", "low": 0.05, "high": 0.5, "when": dqn},
    }


def network(config: ReinforcementConfig) -> nn.ModuleList:
    """The actor, and the critic where there is one."""
    return nn.ModuleList([game.mlp(8, config.hidden, n) for n in (game.ACTIONS, *[1] * config.critic)])


def bundles(config: ReinforcementConfig) -> list[float]:
    """One CPU for the process that learns, half of one for each actor that plays."""
    return [1.0, *[0.5] * config.num_env_runners]


LAB = Lab(
    heading=COURSE["rl"],
    config=ReinforcementConfig,
    presets={
        "simple": {"algorithm": "reinforce", "weights": "immediate"},
        "medium": {"algorithm": "reinforce", "weights": "reward-to-go", "gamma": 0.99},
        "strong": {"algorithm": "reinforce", "weights": "advantage", "gamma": 0.99, "gae_lambda": 0.95},
        "boss": {"algorithm": "ppo"},
        "dqn": {"algorithm": "dqn", "gamma": 0.99, "grad_clip": 10.0},
    },
    sizes={
        "tiny": {"iterations": 3, "batch_size": 1024, "minibatch_size": 256, "passes": 2, "envs_per_runner": 4},
        "small": {
            "iterations": 90,
            "batch_size": 2048,
            "minibatch_size": 256,
            "num_env_runners": 1,
            "envs_per_runner": 16,
            "lr": 5e-3,
        },
        "course": {},
    },
    train=train,
    load=load,
    predict=predict,
    example=example,
    deliver=deliver,
    check_submission=check_submission,
    score=score,
    submission="Action_List.json",
    space=space,
    network=network,
    placement="rllib",
    bundles=bundles,
    tuned={
        ("medium", "small"): {"lr": 1e-2},
        ("boss", "small"): {"lr": 2e-3},
        ("dqn", "small"): {"lr": 2e-4, "minibatch_size": 128},
        ("simple", "course"): {**REINFORCE_AT_COURSE, "hidden": (16, 16)},  # the sample's own
        ("medium", "course"): REINFORCE_AT_COURSE,
        ("strong", "course"): REINFORCE_AT_COURSE,
        ("dqn", "course"): {"lr": 2e-4, "minibatch_size": 128},
    },
    seconds={"tiny": 10, "small": 90, "course": 700},
)
