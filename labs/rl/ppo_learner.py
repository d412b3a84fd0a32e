"""The update of `labs.rl.ppo` as the learner of RLlib's PPO.

What RLlib calls, and when: `Algorithm.train` collects episodes, or chunks of them, and passes them to the learner's
`update`. This runs the learner's only connector, `ToSteps`, and then `PPOLearner._update` on the one batch that it
makes. RLlib's own connectors and learner compute the same (tests/labs/test_ppo.py) and took three times as long.
"""

from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing

from labs.rl.ppo import Coefficients, Steps, entropies, generalised_advantages, normalised, update

COLUMNS = (
    Columns.OBS,
    Columns.ACTIONS,
    Columns.ACTION_LOGP,
    Postprocessing.ADVANTAGES,
    Postprocessing.VALUE_TARGETS,
)
"""RLlib's names of the fields of `Steps`, in their order."""


class ToSteps(ConnectorV2):  # type: ignore[misc]
    """Makes one batch of the steps of all episodes, with their advantages and value targets."""

    def __init__(self, *spaces: Any, gamma: float, lambda_: float) -> None:
        super().__init__(*spaces)
        self.gamma, self.lambda_ = gamma, lambda_

    def __call__(self, *, rl_module: Any, episodes: Sequence[SingleAgentEpisode], **kwargs: Any) -> Any:
        module = rl_module[DEFAULT_MODULE_ID]
        device = next(module.parameters()).device
        advantages, value_targets = [], []
        for episode, v in zip(episodes, module.unwrapped().state_values(episodes), strict=True):
            rewards = torch.from_numpy(episode.get_rewards())
            advantages.append(generalised_advantages(rewards, v, self.gamma, self.lambda_))
            # V^targ_t = A_t + V(s_t)
            value_targets.append(advantages[-1] + v[:-1].float())
        observations = [torch.from_numpy(episode.get_observations()[:-1]) for episode in episodes]
        actions = [torch.from_numpy(episode.get_actions()) for episode in episodes]
        log_probs = [torch.from_numpy(each.get_extra_model_outputs(Columns.ACTION_LOGP)) for each in episodes]
        steps = Steps(
            torch.cat(observations),
            torch.cat(actions),
            torch.cat(log_probs),
            normalised(torch.cat(advantages)),
            torch.cat(value_targets),
        )
        return {DEFAULT_MODULE_ID: {name: each.to(device) for name, each in zip(COLUMNS, steps, strict=True)}}


class PPOLearner(PPOTorchLearner):  # type: ignore[misc]
    """Makes all passes over a batch in one call of `_update`; `learner_config_dict` has their number."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self.module[module_id])
        # Fused, Adam takes a fifth of the time on networks as small as these.
        optimizer = torch.optim.Adam(parameters, fused=True)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> Any:
        config, module = self.config, self.module[DEFAULT_MODULE_ID].unwrapped()
        steps = Steps(*(batch[DEFAULT_MODULE_ID][name] for name in COLUMNS))
        ((_, optimizer),) = self.get_optimizers_for_module(DEFAULT_MODULE_ID)
        loss = update(
            module.actor,
            lambda observations: module.compute_values({Columns.OBS: observations}),
            optimizer,
            steps,
            Coefficients(config.clip_param, config.vf_loss_coeff, config.entropy_coeff, config.vf_clip_param),
            grad_clip=config.grad_clip,
            **config.learner_config_dict,
        )
        with torch.no_grad():
            entropy = entropies(module.actor(steps.observations)).mean()
        self.metrics.log_value((DEFAULT_MODULE_ID, ENTROPY_KEY), entropy, window=1)
        return {}, {DEFAULT_MODULE_ID: loss}, {}
