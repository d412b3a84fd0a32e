"""`labs submit` and `labs jobs`: any command of this program, on a running Ray cluster."""

import time
from typing import Annotated

import typer

from pipelines.commands.options import SUBMIT, Json, print_json, print_table

Address = Annotated[
    str | None, typer.Option(help="URL of the job server. Default: RAY_API_SERVER_ADDRESS, or http://127.0.0.1:8265.")
]
JobId = Annotated[str, typer.Argument(help="Id of the job; `labs jobs list` shows all.", metavar="ID")]
jobs_app = typer.Typer(help="List a cluster's jobs, read their logs, stop one.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command(context_settings={"ignore_unknown_options": True}, rich_help_panel=SUBMIT)(submit)
    app.add_typer(jobs_app, name="jobs", rich_help_panel=SUBMIT)


def submit(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(help="Any labs command, after `--`.", metavar="COMMAND")],
    address: Address = None,
) -> None:
    """Run a labs command as a job on a Ray cluster.

    For example: labs submit -- train cnn --preset strong
    """
    from cluster import jobs
    from cluster.uri import without_password
    from pipelines.commands import submitted
    from pipelines.fingerprint import ROOT

    parsed = submitted.parse(context, command)
    for note in submitted.notes(parsed, ROOT, jobs.PACKAGES):
        typer.echo(f"warning: {note}", err=True)
    command, variables = submitted.apart(command, parsed.params.get("store"))
    server = address or jobs.default_address()
    typer.echo(f"labs {' '.join(command)}: submitting to {without_password(server)}", err=True)
    raise typer.Exit(jobs.submit(command, address=server, code=ROOT, variables=variables, write=_write))


@jobs_app.command("list")
def list_jobs(address: Address = None, as_json: Json = False) -> None:
    """List the cluster's jobs."""
    from cluster import jobs
    from pipelines.show.display import rows_table

    rows = jobs.list_jobs(address or jobs.default_address())
    if as_json:
        return print_json(rows)
    shown = [{**row, **{name: row[name] and _local_time(row[name]) for name in ("start", "end")}} for row in rows]
    columns = {name: name.replace("_", " ") for name in ("id", "status", "start", "end", "exit_code", "command")}
    print_table(rows_table(shown, columns, drop=("end", "exit_code")))


@jobs_app.command("logs")
def logs(
    job: JobId, address: Address = None, follow: Annotated[bool, typer.Option(help="Go on until the job ends.")] = False
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


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
