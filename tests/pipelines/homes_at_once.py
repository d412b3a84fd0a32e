"""Several homes train the same lab into one store at once.

python -m tests.pipelines.homes_at_once STORE HOME...

Each is a process of its own, forked from this one when everything is imported: they reach the store in the same moment,
and the imports, nine seconds, are paid once. What a process prints goes to `train.log` in its home.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  these two for the processes that are forked
import torch._dynamo  # noqa: F401

import labs
from pipelines import cli

TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0")


def train(store: str, home: str) -> None:
    """What each process does."""
    log = os.open(Path(home) / "train.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["labs", *TRAIN, "--home", home, "--store", store]
    cli.main()


if __name__ == "__main__":
    labs.get("regression")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=train, args=(sys.argv[1], home)) for home in sys.argv[2:]]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(any(process.exitcode for process in processes))
