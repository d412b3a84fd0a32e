"""PPO in plain torch: advantages, loss and update, each line beside its equation.

Preset `boss` learns with this update, as the learner of RLlib's PPO (`labs.rl.ppo_learner`). RLlib's own learner
computes the same; tests/labs/test_ppo.py compares the two. Preset `strong` takes its advantages from here. An iteration
of PPO (Schulman et al., arXiv:1707.06347, algorithm 1):

1. Collect steps with the policy pi_old, and keep log pi_old(a_t | s_t) of each action.
2. Estimate the advantages A_t with the critic V (`generalised_advantages`), and the value targets
   V^targ_t = A_t + V(s_t). A_t is normalised afterwards.
3. For K passes over the steps, minibatch by minibatch, descend along the gradient of `ppo_loss` (`update`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Steps(NamedTuple):
    """N environment steps with what PPO computes for them once, before the first update."""

    observations: Tensor
    """(N, 8) s_t."""
    actions: Tensor
    """(N,) int64, a_t."""
    log_probs: Tensor
    """(N,) log pi_old(a_t | s_t)."""
    advantages: Tensor
    """(N,) A_t, normalised to mean 0 and standard deviation 1."""
    value_targets: Tensor
    """(N,) V^targ_t, in points."""


class Coefficients(NamedTuple):
    """Hyper-parameters of the loss."""

    clip: float
    """epsilon, half the width of the interval in which the probability ratio counts."""
    value: float
    """c1, of the value loss."""
    entropy: float
    """c2, of the entropy bonus."""
    value_clip: float = float("inf")
    """Largest squared value error of a step that counts (RLlib's `vf_clip_param`); the paper has none."""


def discounted_sums(terms: Tensor, discount: float) -> Tensor:
    """(T,) x -> (T,) float32: sum over l of discount^l x_{t+l}, summed from the end in double precision."""
    sums, later = [], 0.0
    for term in reversed(terms.tolist()):
        later = term + discount * later
        sums.append(later)
    return torch.tensor(sums[::-1])


def generalised_advantages(rewards: Tensor, values: Tensor, gamma: float, lambda_: float) -> Tensor:
    """(T,) rewards of an episode or of a part of it, (T + 1,) values of its states -> (T,) advantages.

    The last value is V(s_T): 0 where the episode terminated, the critic's where it was cut off. Schulman et al., GAE
    (arXiv:1506.02438).
    """
    # delta_t = r_t + gamma V(s_{t+1}) - V(s_t)   (PPO, eq. 12)
    td_errors = rewards + gamma * values[1:] - values[:-1]
    # A_t = sum over l of (gamma lambda)^l delta_{t+l}   (GAE, eq. 16)
    return discounted_sums(td_errors, gamma * lambda_)


def normalised(values: Tensor) -> Tensor:
    """(N,) shifted and scaled to mean 0 and standard deviation 1."""
    return (values - values.mean()) / (values.std(correction=0) + 1e-9)


def entropies(logits: Tensor) -> Tensor:
    """(N, 4) logits -> (N,): S[pi](s) = -sum over a of pi(a | s) log pi(a | s)."""
    log_policy = logits.log_softmax(1)
    return -(log_policy.exp() * log_policy).sum(1)


def ppo_loss(logits: Tensor, values: Tensor, steps: Steps, coefficients: Coefficients) -> Tensor:
    """The scalar to minimise, from the present policy's logits (N, 4) and the present critic's values (N,)."""
    log_policy = logits.log_softmax(1)
    # r_t(theta) = pi_theta(a_t | s_t) / pi_old(a_t | s_t)
    ratio = (log_policy.gather(1, steps.actions[:, None]).squeeze(1) - steps.log_probs).exp()
    # L^CLIP_t = min(r_t A_t, clip(r_t, 1 - epsilon, 1 + epsilon) A_t)   (eq. 7 is its expectation)
    clipped = ratio.clamp(1 - coefficients.clip, 1 + coefficients.clip)
    objective = torch.min(ratio * steps.advantages, clipped * steps.advantages)
    # L^VF_t = (V_theta(s_t) - V^targ_t)^2, at most `value_clip`
    value_loss = (values - steps.value_targets).square().clamp(max=coefficients.value_clip)
    # L = E[-L^CLIP_t + c1 L^VF_t - c2 S[pi_theta](s_t)]   (minus eq. 9, which the paper maximises)
    loss: Tensor = (-objective + coefficients.value * value_loss - coefficients.entropy * entropies(logits)).mean()
    return loss


def update(
    actor: nn.Module,
    critic: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    steps: Steps,
    coefficients: Coefficients,
    *,
    passes: int,
    minibatch_size: int,
    grad_clip: float,
) -> Tensor:
    """K passes over the steps in shuffled minibatches; `critic` maps (B, 8) to values (B,), in points.

    The last minibatch of a pass may be smaller; RLlib fills it with steps of the next pass.

    Returns:
        The loss of the last minibatch.
    """
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for _ in range(passes):
        order = torch.randperm(len(steps.actions))
        for minibatch in map(Steps, *(column[order].split(minibatch_size) for column in steps)):
            loss = ppo_loss(actor(minibatch.observations), critic(minibatch.observations), minibatch, coefficients)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, grad_clip)
            optimizer.step()
    return loss
