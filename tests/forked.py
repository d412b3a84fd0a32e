"""Processes that are forked from one that has imported what takes seconds: torch, MLflow and the lessons."""

import multiprocessing
import os
import signal
import subprocess
import sys
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

import labs
from tests import saving

# Not Ray, which reads its environment variables when it is imported; torch imports _dynamo for its first optimizer.
PRELOADED = ["pipelines.cli", "pipelines.pipeline", "mlflow.store.tracking.sqlalchemy_store", "torch._dynamo"]


@cache
def server() -> ForkServerContext:
    """The server of this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [*PRELOADED, *(heading.module for heading in labs.COURSE.values() if heading.name != "rl")]
    )
    return context


class LabsProcess:
    """A process `labs ...`, in a session of its own. What can be done with it is named as in `subprocess.Popen`.

    Args:
        arguments: the command's.
        environment: its variables.
        folder: an empty one, for what it prints.
        save_every_s: see `tests.saving`.
    """

    def __init__(
        self, arguments: list[str], environment: dict[str, str], folder: Path, save_every_s: float | None = None
    ) -> None:
        self.folder = folder
        self.process = server().Process(target=_labs, args=(arguments, environment, folder, save_every_s))
        self.process.start()

    @property
    def pid(self) -> int:
        return int(self.process.pid or 0)

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("labs", timeout or 0)
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return (self.folder / "out").read_text(), (self.folder / "err").read_text()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _labs(arguments: list[str], environment: dict[str, str], folder: Path, save_every_s: float | None) -> None:
    """What the process does."""
    from pipelines import cli

    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["labs", *arguments]
    if save_every_s is not None:
        saving.save_every(save_every_s)
    cli.run()
