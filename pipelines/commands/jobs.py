"""`labs submit` and `labs jobs`: any command of this program, on a running Ray cluster."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import SUBMIT, Home, Json, print_json, print_table, writable

Address = Annotated[
    str | None, typer.Option(help="URL of the job server. Default: RAY_API_SERVER_ADDRESS, or http://127.0.0.1:8265.")
]
JobId = Annotated[str, typer.Argument(help="Id of the job; `labs jobs list` shows all.", metavar="ID")]
jobs_app = typer.Typer(help="List a cluster's jobs, read their logs, fetch results, stop one.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command(context_settings={"ignore_unknown_options": True}, rich_help_panel=SUBMIT)(submit)
    app.add_typer(jobs_app, name="jobs", rich_help_panel=SUBMIT)


def submit(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(help="Any labs command, after `--`.", metavar="COMMAND")],
    address: Address = None,
    name: Annotated[str | None, typer.Option(help="Name of the job in `labs jobs list`.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="Variable of the job: NAME=VALUE; for a secret NAME alone, which takes its value from this shell and "
            "shows it nowhere. Repeatable.",
            metavar="NAME[=VALUE]",
        ),
    ] = None,
    pip: Annotated[
        list[str] | None,
        typer.Option(help="Python package that the job needs beyond the cluster's own. Repeatable.", metavar="PACKAGE"),
    ] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the job's log.")] = False,
) -> None:
    """Run a labs command as a job on a Ray cluster.

    For example: labs submit -- train cnn --preset strong
    """
    from cluster import jobs
    from cluster.uri import without_password
    from pipelines import checkout
    from pipelines.commands import submitted
    from pipelines.fingerprint import ROOT

    parsed = submitted.parse(context, command)
    variables, secrets = submitted.variables_of(env or [])
    job = submitted.with_files(parsed, command)
    for note in job.notes:
        typer.echo(note, err=True)
    shown, store = submitted.apart(job.command, parsed.params.get("store"))
    server = _server(address)
    typer.echo(f"labs {' '.join(shown)}: submitting to {without_password(server)}", err=True)
    commit = checkout.head()
    facts = {"name": name, "commit": commit and str(commit)}
    code = jobs.submit(
        shown,
        address=server,
        code=ROOT,
        files=job.files,
        variables={**(commit.variables() if commit else {}), **variables},
        secrets={**secrets, **store},
        requirements=pip or [],
        facts={fact: value for fact, value in facts.items() if value},
        wait=not no_wait,
        write=_write,
    )
    raise typer.Exit(code)


@jobs_app.command("list")
def list_jobs(address: Address = None, as_json: Json = False) -> None:
    """List the cluster's jobs."""
    from cluster import jobs
    from pipelines.show.display import rows_table

    rows = jobs.list_jobs(_server(address))
    if as_json:
        return print_json(rows)
    shown = [{**row, **{name: row[name] and _local_time(row[name]) for name in ("start", "end")}} for row in rows]
    names = ["id", "name", "status", "start", "end", "exit_code", "commit", "command"]
    columns = {name: name.replace("_", " ") for name in names if name != "name" or any(row["name"] for row in rows)}
    print_table(rows_table(shown, columns, drop=("commit", "end", "exit_code")))


@jobs_app.command("logs")
def logs(
    job: JobId, address: Address = None, follow: Annotated[bool, typer.Option(help="Go on until the job ends.")] = False
) -> None:
    """Print a job's log."""
    from cluster import jobs

    raise typer.Exit(jobs.logs(_server(address), job, follow=follow, write=_write))


@jobs_app.command("fetch")
def fetch(
    context: typer.Context,
    job: JobId,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    address: Address = None,
) -> None:
    """Bring a job's results here: all that its runs delivered, metrics, figures."""
    from cluster import jobs
    from cluster.errors import ClusterError
    from pipelines import fetched
    from pipelines.commands import submitted
    from pipelines.fingerprint import ROOT

    server = _server(address)
    row = jobs.find(server, job)
    home = submitted.parse(context, shlex.split(row["command"])).params.get("home") or row["home"]
    writable(out, "--out")
    typer.echo(f"job {job}: its results are packed on the head node", err=True)
    log: list[str] = []
    command = ["jobs", "pack", job, *(["--home", str(home)] if home else [])]
    if jobs.submit(command, address=server, code=ROOT, write=log.append):
        lines = "".join(log).splitlines()
        reasons = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise ClusterError((reasons or lines)[-1])
    for file in fetched.unpack("".join(log), out):
        typer.echo(str(file))


@jobs_app.command("pack", hidden=True)
def pack(job: JobId, home: Home = None) -> None:
    """Print a job's results as text: what `fetch` runs on the head node."""
    from pipelines import fetched
    from pipelines.home import find_home

    typer.echo(fetched.pack(find_home(home), job))


@jobs_app.command("stop")
def stop(job: JobId, address: Address = None) -> None:
    """Stop a job; the same submission again continues it."""
    from cluster import jobs

    asked = jobs.stop(_server(address), job)
    typer.echo(f"job {job} was asked to stop" if asked else f"job {job} had already ended")


def _server(address: str | None) -> str:
    """The job server; a warning where the user's token goes to it in the clear."""
    from cluster import job_server
    from cluster.uri import without_password

    server = address or job_server.default_address()
    if job_server.shows_token(server):
        typer.echo(
            f"warning: {without_password(server)} is not encrypted, and whoever reads along gets the cluster's token: "
            "use it in a network of your own, or through ssh -L 8265:127.0.0.1:8265",
            err=True,
        )
    return server


def _write(text: str) -> None:
    typer.echo(text, nl=False)


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
