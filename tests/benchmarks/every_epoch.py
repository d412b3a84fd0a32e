"""The command `labs`, with a checkpoint after every epoch instead of every ten seconds; all else is the real thing.

python -m tests.benchmarks.every_epoch train regression ...
"""

from typing import Any

from pipelines import cli, train


def loop(payload: dict[str, Any]) -> Any:
    """What a Ray Train worker executes: the program's own loop, after one constant was changed in that process."""
    import labs.run
    from pipelines import train

    labs.run.SAVE_EVERY_S = 0.0
    return train.loop(payload)


if __name__ == "__main__":
    train.loop = loop
    cli.main()
