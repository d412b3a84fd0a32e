"""The reinforcement-learning lab's config."""

import math
from typing import Literal

from pydantic import Field, model_validator

from labs.core.config import Config

Credit = Literal["immediate", "reward-to-go", "advantage"]


class ReinforcementConfig(Config):
    algorithm: Literal["reinforce", "a2c", "ppo", "dqn"] = "ppo"
    """`reinforce`: policy gradient, one update on each batch of whole episodes; `a2c`: with a critic, one update of
    both on each batch of a few steps of each environment; `ppo`: with a clipped objective as well, many updates on each
    batch; `dqn`: Q-learning from a replay buffer, no policy network."""
    credit: Credit = "advantage"
    """REINFORCE's weight of each action's log-probability: the reward of its own step, the reward-to-go, or the
    advantage over the critic's value; no effect with the other algorithms."""
    iterations: int = Field(250, ge=1)
    """Iterations of collecting `batch_size` environment steps and learning from them."""
    validate_every: int = Field(1, ge=1)
    """Iterations of an epoch of the run, after which the actor is validated in episodes that take longer than an
    iteration of PPO at size `small`; the last epoch is completed."""
    batch_size: int = Field(8192, ge=1)
    """Environment steps of an iteration, summed over all environments."""
    minibatch_size: int = Field(512, ge=1)
    """Steps in the minibatch of one gradient update of PPO and DQN; the others use the batch."""
    critic_steps: int = Field(40, ge=1)
    """Gradient steps of REINFORCE's critic on each batch, on which the policy takes one; no effect elsewhere."""
    passes: int = Field(8, ge=1)
    """With PPO passes over each batch; with DQN the replay ratio, steps replayed for each step collected; no effect
    with the others."""
    replay_capacity: int = Field(200_000, ge=100, le=10_000_000)
    """Environment steps in DQN's replay buffer; no effect with the other algorithms."""
    target_steps: int = Field(1000, ge=1)
    """Environment steps between two copies of DQN's Q-network to its target network; no effect elsewhere."""
    exploration_fraction: float = Field(0.2, gt=0, le=1)
    """DQN's epsilon, the probability of a random action, falls linearly from 1 until it is 0.05, at a rate that would
    bring it to 0 after this fraction of the training; no effect with the other algorithms."""
    num_env_runners: int = Field(2, ge=0)
    """RLlib's environment runners, processes of half a CPU each; with 0 the learner's process runs the environments."""
    envs_per_runner: int = Field(32, ge=1)
    """Environments of one environment runner, whose observations make one batch for the policy."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the actor (with DQN the Q-network), and of the critic."""
    lr: float = Field(5e-4, gt=0)
    """Adam's learning rate."""
    gamma: float = Field(0.999, ge=0, le=1)
    """Discount factor of a reward one step later; no effect with `credit=immediate`."""
    gae_lambda: float = Field(0.98, ge=0, le=1)
    """Lambda of generalised advantage estimation, from 0 (one-step TD errors: low variance, biased by the critic) to 1
    (reward-to-go less value); only where there is a critic."""
    clip: float = Field(0.2, gt=0)
    """PPO's epsilon: the objective stops growing where an action's probability ratio leaves [1 - clip, 1 + clip]; no
    effect with the other algorithms."""
    entropy: float = Field(0.01, ge=0)
    """Coefficient of the entropy bonus, which keeps the policy exploring; no effect with DQN."""
    value_weight: float = Field(0.5, ge=0)
    """Coefficient of A2C's and PPO's value loss, the squared error in units of `RETURN_SCALE`; no effect elsewhere."""
    grad_clip: float = Field(0.5, gt=0)
    """Largest norm of the gradient; longer ones are scaled down to it."""

    @model_validator(mode="after")
    def _fits(self) -> "ReinforcementConfig":
        if self.algorithm in ("ppo", "dqn") and self.minibatch_size > self.batch_size:
            raise ValueError(f"minibatch_size {self.minibatch_size} is above batch_size {self.batch_size}")
        return self

    @property
    def epochs(self) -> int:
        """Epochs of the run."""
        return math.ceil(self.iterations / self.validate_every)

    @property
    def critic(self) -> bool:
        """Whether there is a critic, a network that estimates the value of a state."""
        return self.algorithm in ("a2c", "ppo") or (self.algorithm == "reinforce" and self.credit == "advantage")
