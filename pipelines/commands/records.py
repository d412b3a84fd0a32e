"""`labs status`, `ui` and `sync`: about what was run."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Annotated

import typer

from labs.core.errors import BadInput
from pipelines.commands.options import COMPARE, Home, Json, StoreUri, print_json, print_table

ANSWER_S = 120.0
"""Seconds in which MLflow's interface must answer; on a busy machine it takes half a minute."""


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    for command in (status, ui, sync):
        app.command(rich_help_panel=COMPARE)(command)


def status(
    pipeline: Annotated[str | None, typer.Argument(help="Name of the pipeline. Default: the newest one.")] = None,
    store: StoreUri = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show the newest pipeline: its nodes, their states and test scores."""
    from pipelines.home import find_home
    from pipelines.show.find import newest_pipeline
    from pipelines.tracking.writer import Store

    where = find_home(home)
    summary = newest_pipeline(where, pipeline, Store(where, store))
    if as_json:
        return print_json(summary)
    from pipelines.show.display import summary_table
    from pipelines.show.summary import show_state

    print_table(summary_table(summary))
    show_state(summary)


def sync(store: StoreUri = None, home: Home = None) -> None:
    """Write to MLflow what it does not have yet of the home folder's runs."""
    from pipelines.home import damaged_records, find_home, reconcile
    from pipelines.show.display import say
    from pipelines.tracking.writer import Store, StoreUnreachable

    where = find_home(home)
    found = Store(where, store)
    say(f"{found.shown_uri}: writing the runs of {where}")
    reconcile(where)

    def write() -> tuple[int, list[str]]:
        found.forget_lost()
        return found.sync_all()

    try:
        count, faults = found.while_it_answers(write)
    except StoreUnreachable as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None
    say(f"{found.shown_uri}: {count} runs and pipelines written")
    faults += damaged_records(where)
    for fault in faults:
        say(f"error: {fault}")
    if faults:
        raise typer.Exit(1)


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web interface on this machine.")] = 5000,
    store: StoreUri = None,
    home: Home = None,
) -> None:
    """Serve MLflow's web interface to this machine alone, until Ctrl-C."""
    from pipelines.home import find_home
    from pipelines.show.display import say
    from pipelines.tracking.writer import Store, StoreUnreachable

    where = find_home(home)
    found = Store(where, store)
    if found.uri.startswith("http"):
        say(f"the store has its own interface: {found.shown_uri}")
        return
    say(f"{found.shown_uri}: starting MLflow's interface")
    if not _is_free(port):
        raise BadInput(f"--port {port}: another program listens on it; name another one")
    try:
        found.open()
    except StoreUnreachable as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None
    # Not as an argument: a database's password would stand in the list of processes.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": found.uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (where / "artifacts").as_uri(),  # of experiments made there; else ./mlartifacts
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(command, env=environment)
    try:
        if _answers(server, f"http://127.0.0.1:{port}/health"):
            say(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
        raise typer.Exit(server.wait())
    finally:
        server.terminate()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _answers(server: "subprocess.Popen[bytes]", url: str) -> bool:
    """Wait until a server answers; False if it ends before, or has not answered in `ANSWER_S`, when it is ended."""
    from urllib.request import ProxyHandler, build_opener

    ask, deadline = build_opener(ProxyHandler({})).open, time.monotonic() + ANSWER_S  # no proxy for this machine
    while server.poll() is None:
        with suppress(OSError), ask(url, timeout=5):
            return True
        if time.monotonic() > deadline:
            typer.echo(f"error: MLflow's interface has not answered in {ANSWER_S:.0f} s", err=True)
            server.terminate()
            return False
        time.sleep(0.2)
    return False
