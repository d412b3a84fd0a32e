"""`labs submit` and `labs jobs`: any command of this program, on a running Ray cluster."""

from typing import Annotated

import typer

Address = Annotated[
    str | None, typer.Option(help="Job server; RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265 by default.")
]
JobId = Annotated[str, typer.Argument(help="The job's id; `labs jobs list` shows them.", metavar="ID")]
jobs_app = typer.Typer(help="Jobs on a cluster: list them, read their logs, stop one.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command(context_settings={"ignore_unknown_options": True})(submit)
    app.add_typer(jobs_app, name="jobs")


def submit(
    command: Annotated[list[str], typer.Argument(help="Any command of this program, after `--`.", metavar="COMMAND")],
    address: Address = None,
) -> None:
    """Run a command on a cluster: labs submit -- train cnn --preset strong."""
    from cluster import jobs
    from pipelines.fingerprint import ROOT

    raise typer.Exit(jobs.submit(command, address=address or jobs.default_address(), code=ROOT, write=_write))


@jobs_app.command("list")
def list_jobs(address: Address = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the cluster's jobs."""
    import json

    from rich.console import Console

    from cluster import jobs
    from pipelines.show.display import rows_table

    rows = jobs.list_jobs(address or jobs.default_address())
    if as_json:
        typer.echo(json.dumps(rows, indent=2, default=str))
    elif rows:
        Console().print(rows_table(rows, {name: name.replace("_", " ") for name in rows[0]}))


@jobs_app.command("logs")
def logs(
    job: JobId, address: Address = None, follow: Annotated[bool, typer.Option(help="Until the job ends.")] = False
) -> None:
    """Print a job's log."""
    from cluster import jobs

    raise typer.Exit(jobs.logs(address or jobs.default_address(), job, follow=follow, write=_write))


@jobs_app.command("stop")
def stop(job: JobId, address: Address = None) -> None:
    """Stop a job; the same submission again continues it."""
    from cluster import jobs

    asked = jobs.stop(address or jobs.default_address(), job)
    typer.echo(f"job {job} was asked to stop" if asked else f"job {job} had already ended")


def _write(text: str) -> None:
    typer.echo(text, nl=False)
