"""The command `labs`. Heavy libraries are imported by the commands that need them, so that `labs --help` is quick."""

import sys

import typer

from cluster.errors import ClusterError
from labs.core.errors import BadInput
from pipelines.commands import jobs, lessons, records, running, tuning

app = typer.Typer(
    help="The labs of NTU's Machine Learning course (Spring 2022) on Ray, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for commands in (lessons, running, tuning, records, jobs):
    commands.add_to(app)


def main() -> None:
    """Entry point: bad input is one sentence and exit code 2; a bug keeps its traceback."""
    try:
        app()
    except (BadInput, ClusterError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
