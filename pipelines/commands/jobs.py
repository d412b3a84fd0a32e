"""`labs submit` and `labs jobs`: any command of this program, on a running Ray cluster."""

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
    command: Annotated[list[str], typer.Argument(help="Any labs command, after `--`.", metavar="COMMAND")],
    address: Address = None,
) -> None:
    """Run a labs command as a job on a Ray cluster.

    For example: labs submit -- train cnn --preset strong
    """
    from cluster import jobs
    from pipelines.fingerprint import ROOT

    typer.echo(f"labs {' '.join(command)}: submitting to {address or jobs.default_address()}", err=True)
    raise typer.Exit(jobs.submit(command, address=address or jobs.default_address(), code=ROOT, write=_write))


@jobs_app.command("list")
def list_jobs(address: Address = None, as_json: Json = False) -> None:
    """List the cluster's jobs."""
    from cluster import jobs
    from pipelines.show.display import rows_table

    rows = jobs.list_jobs(address or jobs.default_address())
    if as_json:
        print_json(rows)
    elif rows:
        columns = {name: name.replace("_", " ") for name in rows[0]}
        print_table(rows_table(rows, columns, drop=("end", "start", "exit_code")))


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
