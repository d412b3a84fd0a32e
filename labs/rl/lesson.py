"""Homework 12, reinforcement learning: land a craft on the moon.

Task
    LunarLander: an observation has 8 numbers, the craft's position, velocity, angle, angular velocity and two leg
    contacts; 50 times a second the agent chooses one of four actions (nothing, left, main or right engine). The rewards
    are 100 to 140 for a landing on the pad, another 100 for coming to rest, -100 for a crash, a little less for fuel.
Data
    None: the agent collects its own steps in the environment.
Metric
    Mean return (sum of an episode's rewards) over the course's five test episodes, higher is better, in points. The
    course's thresholds were shown on the judge's site only; by convention the environment counts as solved at 200. A
    random policy gets about -200. After each epoch the actor is evaluated in 16 validation episodes, `val/return`; the
    weights of the best epoch are kept.
Ladder
    simple   REINFORCE as in the course's sample (but with Adam): the log-probability of an action is weighted by the
             reward of its own step.
    medium   It is weighted by the reward-to-go, the discounted sum of this and all later rewards: what followed from
             the action. Where the time limit of 1000 steps cut the episode off, nothing estimates the rewards that
             would have followed; they are left out.
    strong   It is weighted by the advantage: how much better that was than a second network, the critic, expected in
             this state. This is REINFORCE with a baseline and generalised advantage estimation, in which the critic
             also estimates most of the later rewards, and all those after the time limit. The critic takes many
             gradient steps on each batch, the policy one.
    boss     PPO, the most common actor-critic: its clipped objective lets the policy, too, take many steps on a batch.
             `labs.rl.ppo` has advantages, loss and update beside their equations; RLlib's PPO learns with them.
Outside the ladder
    a2c      Actor and critic take one step together on each batch of n steps of each environment (16, at tiny 128):
             the synchronous advantage actor-critic, with n-step returns and an entropy bonus. It is PPO with one pass
             over one minibatch (`labs.rl.rllib.a2c`); RLlib has no A2C of its own any more.
    dqn      No policy gradient: double deep Q-learning estimates the value of each action, from a replay buffer.
Report
    (a)  How does this method, such as REINFORCE with baseline or an actor-critic, differ from the policy gradient?
    (b)  How high are the returns of the trained policy, with its most probable and with sampled actions?
    The course asks (a) and a multiple-choice question on MuZero; (b) and these are ours.
    (c)  What does MuZero plan in: the simulator's rules, as AlphaZero; a model that it learns; or recorded episodes?
    (d)  MuZero learns a representation, a dynamics and a prediction function: which of them does this run learn?
Papers
    Williams, Simple statistical gradient-following algorithms (REINFORCE, Machine Learning 8, 1992); Schulman et al.,
    Generalized Advantage Estimation (arXiv:1506.02438) and Proximal Policy Optimization (arXiv:1707.06347); Liang et
    al., RLlib (arXiv:1712.09381); Mnih et al., A3C, of which A2C is the synchronous form (arXiv:1602.01783); Huang et
    al., A2C is a special case of PPO (arXiv:2205.09123); Mnih et al., DQN (Nature 518, 2015); van Hasselt et al.,
    Double DQN (arXiv:1509.06461).
"""

import json
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from labs import COURSE
from labs.core.errors import shown
from labs.core.lab import Lab
from labs.core.run import Run
from labs.core.weights import load_weights
from labs.rl import action_list, lunar_lander, report
from labs.rl.config import ReinforcementConfig
from labs.rl.policies import mlp, policy, uniform

METRIC = COURSE["rl"].metric

REINFORCE_AT_COURSE = {"iterations": 500, "batch_size": 4096, "envs_per_runner": 16, "lr": 5e-3}
"""As many environment steps as PPO takes, but in smaller batches, because each gives one policy update, and from fewer
environments, so that an episode spans fewer updates."""


def train(config: ReinforcementConfig, run: Run) -> None:
    from labs.rl import rllib  # RLlib takes seconds to import, and a trained actor does not need it

    settings = rllib.algorithm_config(config, run.seed, gpu=run.device.type == "cuda")
    with rllib.running(settings, run.folder / "rllib") as algorithm:
        learner = rllib.LearnerState(algorithm)
        progress, selection = {"env_steps": 0}, "greedy" if config.algorithm == "dqn" else "sampled"
        for epoch in run.epochs(config.epochs, state={"learner": learner, "progress": progress}):
            if config.algorithm == "dqn":
                # epsilon = max(0.05, 1 - t / T): t the epoch, T = exploration_fraction * epochs
                learner.module.epsilon.fill_(max(0.05, 1 - epoch / (config.exploration_fraction * config.epochs)))

            # Collect batches of steps and learn from each: `training_step` of the algorithm, `validate_every` times.
            start = time.perf_counter()
            result = algorithm.train()
            seconds = time.perf_counter() - start

            # Log the episodes that ended, and the loss of the last update.
            collected, updated = result["env_runners"], result["learners"]["default_policy"]
            steps = int(collected["num_env_steps_sampled"])
            progress["env_steps"] += steps
            run.log({"train/loss": float(updated["total_loss"]), "train/env_steps": progress["env_steps"]})
            run.log({"perf/samples_per_s": steps / seconds})
            if "entropy" in updated:
                run.log({"train/entropy": float(updated["entropy"])})
            if collected.get("num_episodes", 0):
                run.log({"train/return": float(collected["episode_return_mean"])})

            # Evaluate the actor in episodes of its own, and keep the best one.
            actor = deepcopy(learner.module.actor).cpu()
            validation = lunar_lander.returns(policy(actor, selection), lunar_lander.VALIDATION_SEEDS)
            run.log({"val/return": float(np.mean(validation))})
            run.best(METRIC, actor)


def load(folder: Path) -> nn.Module:
    """The actor: (B, 8) observations to (B, 4) action logits (with DQN Q-values in hundreds of points)."""
    config = LAB.read_config(folder)
    return load_weights(folder, mlp(lunar_lander.OBSERVATIONS, config.hidden, lunar_lander.ACTIONS))


def predict(model: nn.Module, observations: np.ndarray) -> np.ndarray:
    """(B, 8) float32 -> (B, 4) action logits, float32."""
    with torch.no_grad():
        logits: np.ndarray = model(torch.from_numpy(observations)).numpy()
    return logits


def example(data_dir: Path) -> np.ndarray:
    """The first three observations of a test episode in free fall, (3, 8); there is no data set to take some from."""
    environment, observation = lunar_lander.judge_environment()
    return np.stack([observation, environment.step(0)[0], environment.step(0)[0]])


def deliver(folder: Path, data_dir: Path, out: Path) -> None:
    """Run the test episodes and write their actions.

    `Action_List.npy` is what the course's judge takes, an object array that numpy pickles; `Action_List.json` has the
    same actions without a pickle. `evaluation.json` names the action selection, `greedy` or `sampled`, and has the
    returns of further episodes with each of the two; `landing.gif` shows the first test episode. Last the report.
    """
    actor = load(folder)
    selection = lunar_lander.better_selection(actor)
    episodes = lunar_lander.test_episodes(policy(actor, selection))
    out.mkdir(parents=True, exist_ok=True)
    (out / LAB.submission).write_text(json.dumps(episodes))
    actions = np.empty(len(episodes), dtype=object)
    actions[:] = episodes
    np.save(out / "Action_List.npy", actions, allow_pickle=True)
    further = {
        each: lunar_lander.returns(policy(actor, each), lunar_lander.EVALUATION_SEEDS) for each in ("greedy", "sampled")
    }
    (out / "evaluation.json").write_text(json.dumps({"selection": selection, **further}))
    lunar_lander.animate(episodes[0], out / "landing.gif")
    report.write(LAB, folder, out, further, selection)


def check_submission(file: Path) -> list[str]:
    """Faults of the course's `Action_List.npy` or of an `Action_List.json`."""
    episodes = action_list.read(file)
    if not isinstance(episodes, list) or len(episodes) != lunar_lander.EPISODES:
        found = f"a list of {len(episodes)}" if isinstance(episodes, list) else type(episodes).__name__
        return [f"{file.name}: expected a list of {lunar_lander.EPISODES} episodes, found {found}"]
    for number, actions in enumerate(episodes):
        if not isinstance(actions, list):
            return [f"{file.name} episode {number}: expected a list of actions, found {type(actions).__name__}"]
        for step, action in enumerate(actions):
            if type(action) is not int or not 0 <= action < lunar_lander.ACTIONS:
                return [f"{file.name} episode {number} action {step}: expected 0, 1, 2 or 3, found {shown(action)}"]
    _, fault = lunar_lander.replay(episodes)
    return [f"{file.name}: {fault}, replayed in {lunar_lander.ENVIRONMENT}"] if fault else []


def score(delivered: Path, data_dir: Path) -> dict[str, float]:
    """`test/return` as the judge computes it, and the less noisy mean of 20 further episodes: with the delivered action
    selection, and with each of the two."""
    totals, _ = lunar_lander.replay(json.loads((delivered / LAB.submission).read_text()))
    further = json.loads((delivered / "evaluation.json").read_text())
    random_policy = uniform(lunar_lander.ACTIONS, seed=0)
    return {
        "test/return": float(np.mean(totals)),
        "test/return_20": float(np.mean(further[further["selection"]])),
        "test/greedy_20": float(np.mean(further["greedy"])),
        "test/sampled_20": float(np.mean(further["sampled"])),
        "test/trivial": float(np.mean(lunar_lander.returns(random_policy, lunar_lander.RANDOM_SEEDS))),
    }


def space() -> dict[str, dict[str, object]]:
    reinforce, ppo, dqn = ({"algorithm": name} for name in ("reinforce", "ppo", "dqn"))
    return {
        "algorithm": {"type": "choice", "values": ["reinforce", "a2c", "ppo", "dqn"]},
        "credit": {"type": "choice", "values": ["immediate", "reward-to-go", "advantage"], "when": reinforce},
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
        "exploration_fraction": {"type": "uniform", "low": 0.05, "high": 0.5, "when": dqn},
    }


def network(config: ReinforcementConfig) -> nn.ModuleList:
    """The actor, and the critic where there is one."""
    networks = nn.ModuleList([mlp(lunar_lander.OBSERVATIONS, config.hidden, lunar_lander.ACTIONS)])
    if config.critic:
        networks.append(mlp(lunar_lander.OBSERVATIONS, config.hidden, 1))
    return networks


def bundles(config: ReinforcementConfig) -> list[float]:
    """A CPU, or half a one for the learner's process and for each environment runner: they wait for each other."""
    return [0.5] * (1 + config.num_env_runners) if config.num_env_runners else [1.0]


LAB = Lab(
    heading=COURSE["rl"],
    config=ReinforcementConfig,
    presets={
        "simple": {"algorithm": "reinforce", "credit": "immediate"},
        "medium": {"algorithm": "reinforce", "credit": "reward-to-go", "gamma": 0.99},
        "strong": {"algorithm": "reinforce", "credit": "advantage", "gamma": 0.99, "gae_lambda": 0.95},
        "boss": {"algorithm": "ppo"},
        "a2c": {"algorithm": "a2c", "gamma": 0.99, "gae_lambda": 1.0},
        "dqn": {"algorithm": "dqn", "gamma": 0.99, "grad_clip": 10.0},
    },
    sizes={
        "tiny": {"iterations": 3, "batch_size": 1024, "minibatch_size": 256, "passes": 2, "envs_per_runner": 4},
        "small": {
            "iterations": 90,
            "batch_size": 2048,
            "minibatch_size": 256,
            "num_env_runners": 0,
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
        # PPO's iterations cost less than REINFORCE's, and its policies swing less, so that few need a validation.
        ("boss", "small"): {"lr": 1e-3, "iterations": 180, "validate_every": 6},
        # As many environment steps as REINFORCE takes.
        ("a2c", "small"): {"lr": 2e-3, "batch_size": 256, "iterations": 720, "validate_every": 8},
        ("dqn", "small"): {"lr": 2e-4, "minibatch_size": 128},
        ("simple", "course"): {**REINFORCE_AT_COURSE, "hidden": (16, 16)},  # the sample's network
        ("medium", "course"): REINFORCE_AT_COURSE,
        ("strong", "course"): REINFORCE_AT_COURSE,
        ("a2c", "course"): {"batch_size": 1024, "iterations": 2000, "validate_every": 8},
        ("dqn", "course"): {"lr": 2e-4, "minibatch_size": 128},
    },
    seconds={"tiny": 10, "small": 90, "course": 700},
)
