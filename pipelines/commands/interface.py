"""`labs ui`: MLflow's web interface."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated

import typer

from labs.core.errors import BadInput
from pipelines.commands.options import COMPARE, Home, StoreUri

ANSWER_S = 120.0
"""Seconds in which MLflow's interface must answer; on a busy machine it takes half a minute."""
LINE_EVERY_S = 10.0
"""How often a line says that it is still waited for, where the screen is no terminal."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=COMPARE)(ui)


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web interface on this machine.")] = 5000,
    store: StoreUri = None,
    home: Home = None,
) -> None:
    """Serve MLflow's web interface to this machine alone, until Ctrl-C."""
    from pipelines.home import find_home
    from pipelines.show.display import say
    from pipelines.tracking.experiment import page
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
    address = f"http://127.0.0.1:{port}"
    # What the server says names its address before it answers there: that is kept, and shown where it ends by itself.
    with TemporaryFile() as said:
        server = _start(found.uri, where, port, said)
        try:
            if _wait(server, f"{address}/health"):
                say(f"the runs are at {address}/{page(found.found)} (Ctrl-C ends this)")
                code = server.wait()
            else:
                code = server.wait() or 1
        finally:
            server.terminate()
        if code:
            said.seek(0)
            typer.echo(said.read().decode(errors="replace")[-2000:], err=True)
    raise typer.Exit(code)


def _start(uri: str, home: Path, port: int, said: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start MLflow's server."""
    # Not as an argument: a database's password would stand in the list of processes.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a dozen processes, for judges of language models
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": (home / "artifacts").as_uri(),  # of experiments made there; else ./mlartifacts
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning"]
    return subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _wait(server: "subprocess.Popen[bytes]", url: str) -> bool:
    """Wait until a server answers; False if it ends before, or has not answered in `ANSWER_S`, when it is ended."""
    from urllib.request import ProxyHandler, build_opener

    from pipelines.show.display import say, screen

    ask, start = build_opener(ProxyHandler({})).open, time.monotonic()  # no proxy for this machine
    line_at = start + LINE_EVERY_S
    with screen.status("waiting until it answers") as line:
        while server.poll() is None:
            with suppress(OSError), ask(url, timeout=5):
                return True
            now = time.monotonic()
            if now > start + ANSWER_S:
                say(f"error: MLflow's interface has not answered in {ANSWER_S:.0f} s")
                server.terminate()
                return False
            line.update(f"waiting until it answers: {now - start:.0f} s")
            if not screen.is_terminal and now > line_at:
                say(f"waiting until it answers: {now - start:.0f} s")
                line_at = now + LINE_EVERY_S
            time.sleep(0.2)
    return False
