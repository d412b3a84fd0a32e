"""The command `labs`. Each command imports the heavy libraries that it needs, so that help and typos cost 0.3 s."""

import errno
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from cluster import connect
from cluster.errors import ClusterError, ConnectionLost
from labs.core.errors import BadInput
from pipelines import checkout, interrupts
from pipelines.commands import (
    comparing,
    doctor,
    interface,
    jobs,
    lessons,
    predicting,
    records,
    reporting,
    running,
    scaling,
    tuning,
)

FAULTS_OF_FILES = {
    errno.EROFS: "name a folder that can be written (--home, LABS_HOME)",
    errno.ENOSPC: "make room, or name another home folder (--home, LABS_HOME); the same command continues",
    errno.EDQUOT: "make room, or name another home folder (--home, LABS_HOME); the same command continues",
    errno.EACCES: "its owner must let this user in, or name another home folder (--home, LABS_HOME)",
}
"""What a file system answers that is no fault of the program -> what to do."""

app = typer.Typer(
    help="The labs of NTU's Machine Learning course (Spring 2022) on Ray, tracked in MLflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for commands in (
    running,
    scaling,
    tuning,
    comparing,
    reporting,
    records,
    interface,
    jobs,
    doctor,
    lessons,
    predicting,
):  # the order of their groups in `labs --help`
    commands.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"labs {version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The program's own options."""


def version() -> str:
    """Version of the installed package, with the commit where the code is a git checkout."""
    try:
        number = metadata.version("ml-labs")
    except metadata.PackageNotFoundError:
        number = "not installed"
    found = checkout.head()
    return f"{number} (commit {found.commit[:7]})" if found else number


def main() -> None:
    """A command: bad input is one sentence and exit code 2, a lost cluster one and 1; a bug keeps its traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the command
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        app(prog_name="labs")
    except (BadInput, ClusterError, ConnectionLost) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1 if isinstance(error, ConnectionLost) else 2)
    except OSError as error:
        if error.errno not in FAULTS_OF_FILES:
            raise
        place = error.filename or "standard output or a file"
        typer.echo(f"error: {place} can't be written: {error.strerror}: {FAULTS_OF_FILES[error.errno]}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:  # outside of what counts interrupts, as while libraries are imported
        sys.exit(130)
    finally:
        interrupts.leave_abandoned_threads()


def run() -> None:
    """Entry point of the process `labs`.

    Where a command has started a Ray, that one ends with the process, at once: its own way to end takes two seconds.
    """
    try:
        main()
    except SystemExit as ended:
        if not connect.is_own_ray():
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        interrupts.end_at_once(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


if __name__ == "__main__":
    run()
