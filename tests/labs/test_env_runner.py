"""The environment runner: its chunks of episodes against the environments themselves."""

from collections import defaultdict
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

import labs
from labs.rl import rllib
from labs.rl.lunar_lander import ENVIRONMENT

LAB = labs.get("rl")


def test_chunks_join_to_the_episodes_that_the_environments_give_for_their_actions(
    free_cpus: None, tmp_path: Path
) -> None:
    """Each environment is played again with the actions that were chosen in it, over three episodes at least."""
    config = LAB.resolve(
        "boss", "tiny", {"batch_size": 60, "minibatch_size": 60, "num_env_runners": 0, "envs_per_runner": 2}
    )
    chunks: dict[str, list[SingleAgentEpisode]] = defaultdict(list)
    with rllib.running(rllib.algorithm_config(config, seed=0, gpu=False), tmp_path) as algorithm:
        runner = algorithm.env_runner
        for _ in range(20):
            collected = runner.sample()
            assert sum(len(chunk) for chunk in collected) == 60
            for chunk in collected:
                chunks[chunk.id_].append(chunk)
        metrics, actor = runner.get_metrics(), runner.module.actor
        seeds = runner.env.unwrapped.np_random_seed
    begun = {episode[0].get_observations(0).tobytes(): episode for episode in chunks.values()}
    assert len(begun) == len(chunks)
    assert int(metrics["num_episodes"]) == sum(episode[-1].is_done for episode in chunks.values())
    for seed in seeds:
        environment, played, done = gym.make(ENVIRONMENT), 0, True
        observation, _ = environment.reset(seed=seed)
        while done:
            episode = begun[observation.tobytes()]
            observation, done = replay(environment, episode, actor)
            played += done
        assert played >= 3


def replay(environment: gym.Env, episode: list[SingleAgentEpisode], actor: torch.nn.Module) -> tuple[np.ndarray, bool]:
    """Play an episode's chunks and compare; returns the first observation after it, and whether it ended."""
    before = 0
    for chunk in episode:
        assert chunk.t_started == before
        before += len(chunk)
        observations, actions = chunk.get_observations(), chunk.get_actions()
        with torch.no_grad():
            log_policy = actor(torch.from_numpy(observations[:-1])).log_softmax(1).numpy()
        expected = log_policy[np.arange(len(actions)), actions]
        np.testing.assert_allclose(chunk.get_extra_model_outputs("action_logp"), expected, rtol=1e-5)
        for i, action in enumerate(actions):
            observation, reward, terminated, truncated, _ = environment.step(action)
            assert np.array_equal(observation, observations[i + 1])
            assert chunk.get_rewards(i) == reward
    last = episode[-1]
    assert (last.is_terminated, last.is_truncated) == (terminated, truncated)
    return (environment.reset()[0] if last.is_done else observation), last.is_done
