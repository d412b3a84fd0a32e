"""The command `labs`, with checkpoints at another interval than ten seconds, and with less patience with a silent head.

python -m tests.saving SECONDS train regression ...
"""

import sys
from collections.abc import Callable
from typing import Any

from cluster import connect
from pipelines import cli, ray_train


def every(seconds: float) -> Callable[[dict[str, Any]], Any]:
    """What a Ray Train worker executes: the program's own loop, after it has changed one constant in that process."""

    def loop(queues: dict[str, Any]) -> Any:
        import labs.core.run
        from pipelines import ray_train

        labs.core.run.SAVE_EVERY_S = seconds
        return ray_train.loop(queues)

    return loop


if __name__ == "__main__":
    ray_train.loop = every(float(sys.argv.pop(1)))
    connect.LOST_AFTER_S = 5.0
    cli.run()
