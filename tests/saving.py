"""The command `labs`, with checkpoints at another interval than ten seconds, and with less patience with a silent head.

python -m tests.saving SECONDS train regression ...
"""

import sys
from collections.abc import Callable
from typing import Any


def every(seconds: float) -> Callable[[dict[str, Any]], Any]:
    """What a Ray Train worker executes: the program's own loop, after it has changed one constant in that process."""

    def loop(queues: dict[str, Any]) -> Any:
        import labs.core.run
        from pipelines import ray_train

        labs.core.run.SAVE_EVERY_S = seconds
        return ray_train.loop(queues)

    return loop


def save_every(seconds: float) -> None:
    """Let the commands of this process save so often, and wait five seconds for a silent head."""
    from cluster import connect
    from pipelines import ray_train

    ray_train.loop = every(seconds)
    connect.LOST_AFTER_S = 5.0


if __name__ == "__main__":
    from pipelines import cli

    save_every(float(sys.argv.pop(1)))
    cli.run()
