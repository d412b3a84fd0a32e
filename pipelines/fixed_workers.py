"""How many workers a Ray Train run on one machine has: as many as it asked for."""

from typing import Any

from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class FixedWorkers(FixedScalingPolicy):  # type: ignore[misc]
    """Ray's own tells an actor of what the run holds, for an autoscaler, which a Ray on one machine has not. The actor
    takes 2.5 CPU-seconds to start, and the workers wait for it."""

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass
