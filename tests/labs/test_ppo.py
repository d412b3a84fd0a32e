"""PPO as `labs.rl.ppo` shows it and preset boss learns with it, against RLlib's own learner and connectors."""

import copy
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets
from torch import nn

import labs
from labs.rl import rllib
from labs.rl.lunar_lander import ENVIRONMENT
from labs.rl.ppo import Coefficients, Steps, generalised_advantages, ppo_loss
from labs.rl.ppo_learner import COLUMNS, PPOLearner
from labs.rl.rl_modules import RETURN_SCALE

LAB = labs.get("rl")
CONFIG: Any = LAB.resolve("boss", "tiny")
N = 256
VALUE_CLIP = 5000.0
"""A squared error that about a third of the steps exceed."""


def coefficients(value_clip: float = math.inf) -> Coefficients:
    return Coefficients(CONFIG.clip, CONFIG.value_weight / RETURN_SCALE**2, CONFIG.entropy, value_clip)


def built_learner(learner_class: type = PPOTorchLearner, **changed: Any) -> Any:
    """A learner with the settings of preset boss: RLlib's own with its own connectors, or the lab's.

    Noise is added to all weights, because the last layers start near zero.
    """
    settings = rllib.algorithm_config(CONFIG, seed=0, gpu=False)
    if learner_class is PPOTorchLearner:
        settings.learners(
            learner_class=PPOTorchLearner, learner_connector=None, add_default_connectors_to_learner_pipeline=True
        )
    if changed:
        settings.learners(learner_config_dict=changed.pop("learner_config_dict", {}))
        settings.training(**changed)
    learner = settings.build_learner(env=gym.make(ENVIRONMENT))
    assert type(learner) is learner_class
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learner.module["default_policy"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) / 5)
    return learner


def made_steps(module: Any) -> tuple[Steps, SampleBatch]:
    """The same random steps for `labs.rl.ppo` and for RLlib; the old policy differs from the module's."""
    generator = torch.Generator().manual_seed(2)
    observations = torch.randn(N, 8, generator=generator)
    with torch.no_grad():
        old_logits = module.actor(observations) + torch.randn(N, 4, generator=generator) / 3
    actions = torch.randint(4, (N,), generator=generator)
    log_probs = old_logits.log_softmax(1)[torch.arange(N), actions]
    advantages = torch.randn(N, generator=generator)
    value_targets = 100 * torch.randn(N, generator=generator)
    batch = SampleBatch(
        {
            "obs": observations,
            "actions": actions,
            "action_dist_inputs": old_logits,
            "action_logp": log_probs,
            "advantages": advantages,
            "value_targets": value_targets,
        }
    )
    return Steps(observations, actions, log_probs, advantages, value_targets), batch


def present_values(critic: nn.Module, observations: torch.Tensor) -> torch.Tensor:
    values: torch.Tensor = RETURN_SCALE * critic(observations).squeeze(1)
    return values


@pytest.mark.parametrize("value_clip", [math.inf, VALUE_CLIP])
def test_the_loss_and_its_gradients_are_those_of_rllibs_learner(value_clip: float) -> None:
    """Without value clipping, as the lab configures it, and with; steps on both sides of each clip take part."""
    learner = built_learner(vf_clip_param=value_clip) if value_clip < math.inf else built_learner()
    module = learner.module["default_policy"]
    steps, batch = made_steps(module)
    logits, values = module.actor(steps.observations), present_values(module.critic, steps.observations)
    ours = ppo_loss(logits, values, steps, coefficients(value_clip))
    theirs = learner.compute_loss_for_module(
        module_id="default_policy", config=learner.config, batch=batch, fwd_out=module.forward_train(batch)
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    parameters = list(module.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), rtol=1e-5, atol=1e-6
    )
    ratio = (logits.log_softmax(1)[torch.arange(N), steps.actions] - steps.log_probs).exp()
    assert (ratio < 1 - CONFIG.clip).any()
    assert (ratio > 1 + CONFIG.clip).any()
    exceeds = (values - steps.value_targets).square() > value_clip
    assert exceeds.any() == (value_clip == VALUE_CLIP)
    assert not exceeds.all()


def test_passes_over_the_steps_lead_to_the_weights_of_rllibs_learner() -> None:
    """Three passes with Adam and the clipped gradient norm; one minibatch, as the two shuffle with other draws."""
    rllibs = built_learner()
    ours = built_learner(PPOLearner, learner_config_dict={"passes": 3, "minibatch_size": N})
    _, batch = made_steps(rllibs.module["default_policy"])
    rllibs.update(batch=MultiAgentBatch({"default_policy": batch.copy()}, N), num_epochs=3, minibatch_size=N)
    result = ours.update(batch=MultiAgentBatch({"default_policy": batch.copy()}, N))
    weights = (dict(each.module["default_policy"].state_dict()) for each in (ours, rllibs))
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)
    assert {"total_loss", "entropy"} <= set(result["default_policy"])


def test_a2c_takes_one_step_along_the_policy_gradient_whatever_the_clip() -> None:
    """Against a step of Adam on -A_t log pi(a_t | s_t) + c1 (V(s_t) - V^targ_t)^2 - c2 S[pi](s_t), without a ratio."""
    config: Any = LAB.resolve("a2c", "tiny", {"clip": 1e-6})
    learner = rllib.algorithm_config(config, seed=0, gpu=False).build_learner(env=gym.make(ENVIRONMENT))
    module = learner.module["default_policy"]
    steps, batch = made_steps(module)
    by_hand = copy.deepcopy(module)
    policy = torch.distributions.Categorical(logits=by_hand.actor(steps.observations))
    batch["action_logp"] = policy.log_prob(steps.actions).detach()
    value_error = (present_values(by_hand.critic, steps.observations) - steps.value_targets) / RETURN_SCALE
    loss = -steps.advantages * policy.log_prob(steps.actions) + config.value_weight * value_error.square()
    (loss - config.entropy * policy.entropy()).mean().backward()
    nn.utils.clip_grad_norm_(by_hand.parameters(), config.grad_clip)
    torch.optim.Adam(by_hand.parameters(), lr=config.lr).step()
    learner.update(batch=MultiAgentBatch({"default_policy": batch}, N))
    torch.testing.assert_close(dict(module.state_dict()), dict(by_hand.state_dict()), rtol=0, atol=1e-5)


def test_a2c_has_n_step_returns() -> None:
    """With lambda = 1: the rewards until the chunk ends, then the critic's value of its last state, less V(s_t)."""
    config: Any = LAB.resolve("a2c", "small")
    generator = np.random.default_rng(2)
    rewards, values = generator.normal(size=16), generator.normal(size=17)
    g = config.gamma
    expected = [sum(g ** (k - t) * rewards[k] for k in range(t, 16)) + g ** (16 - t) * values[16] - values[t]
                for t in range(16)]  # fmt: skip
    found = generalised_advantages(torch.from_numpy(rewards), torch.from_numpy(values), g, config.gae_lambda)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def made_chunks() -> list[SingleAgentEpisode]:
    """Chunks of episodes: one that terminates, one that is truncated, one that goes on."""
    generator = np.random.default_rng(3)
    return [
        SingleAgentEpisode(
            observations=list(generator.normal(size=(steps + 1, 8)).astype(np.float32)),
            actions=list(generator.integers(4, size=steps)),
            rewards=generator.normal(scale=10, size=steps).tolist(),
            extra_model_outputs={"action_logp": list(-generator.random(steps, np.float32))},
            terminated=end == "terminated",
            truncated=end == "truncated",
            len_lookback_buffer=0,
        ).to_numpy()
        for steps, end in ((30, "terminated"), (20, "truncated"), (10, ""))
    ]


def test_chunks_of_episodes_become_the_batch_that_rllibs_connectors_make() -> None:
    """RLlib adds a step to each chunk, masks it out, and normalises the advantages together with these steps."""
    batches = []
    for learner in built_learner(), built_learner(PPOLearner):
        connector, chunks = learner._learner_connector, made_chunks()
        batches.append(connector(rl_module=learner.module, batch={}, episodes=chunks, shared_data={})["default_policy"])
    theirs, ours = batches
    counts = theirs["loss_mask"]
    for name in COLUMNS:
        expected = theirs[name][counts]
        if name == "advantages":
            expected = (expected - expected.mean()) / expected.std(correction=0)
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("terminated", [True, False])
def test_advantages_are_those_of_rllib(terminated: bool) -> None:
    """RLlib's value targets less the values. A terminal state has the value 0, a truncated one the critic's."""
    generator = np.random.default_rng(0)
    rewards, values = generator.normal(scale=10, size=50), generator.normal(scale=100, size=51)
    if terminated:
        values[-1] = 0
    ends = np.zeros(51)
    ends[49] = 1
    nothing = np.zeros(51)
    targets = compute_value_targets(
        values=values,
        rewards=np.append(rewards, 0.0),
        terminateds=ends if terminated else nothing,
        truncateds=nothing if terminated else ends,
        gamma=CONFIG.gamma,
        lambda_=CONFIG.gae_lambda,
    )
    found = generalised_advantages(torch.from_numpy(rewards), torch.from_numpy(values), CONFIG.gamma, CONFIG.gae_lambda)
    np.testing.assert_allclose(found.numpy(), (targets - values)[:-1], rtol=1e-5, atol=1e-3)


def test_advantages_are_the_discounted_sums_of_td_errors() -> None:
    """Against the double sum of the paper, written out."""
    generator = np.random.default_rng(1)
    rewards, values = generator.normal(size=9), generator.normal(size=10)
    td_errors = [rewards[t] + 0.9 * values[t + 1] - values[t] for t in range(9)]
    expected = [sum((0.9 * 0.8) ** (k - t) * td_errors[k] for k in range(t, 9)) for t in range(9)]
    found = generalised_advantages(torch.from_numpy(rewards), torch.from_numpy(values), gamma=0.9, lambda_=0.8)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
