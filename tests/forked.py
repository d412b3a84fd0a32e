"""Processes that are forked from one that has imported what takes seconds: torch, MLflow and the lessons."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

import labs

# Not Ray, which reads its environment variables when it is imported; torch imports _dynamo for its first optimizer.
PRELOADED = ["pipelines.cli", "pipelines.pipeline", "mlflow.store.tracking.sqlalchemy_store", "torch._dynamo"]
PRINTED = ("out", "err")
"""Files with what a process prints."""


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
        folder: one for what it prints, in the files `out` and `err`.
        before: what the process does first; a function of a module, or a `partial` of one.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        folder: Path,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.folder = folder
        for name in PRINTED:
            (folder / name).touch()
        self.process = server().Process(target=labs_command, args=(arguments, environment, folder, before))
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


def labs_command(
    arguments: list[str], environment: dict[str, str], folder: Path, before: Callable[[], object] | None = None
) -> None:
    """What such a process does; also for one that is forked from another."""
    from pipelines import cli

    os.setsid()
    for number, name in enumerate(PRINTED, 1):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["labs", *arguments]
    if before:
        before()
    cli.run()
