"""`labs status`, `compare`, `ui` and `sync`: about what was run."""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from labs.core.errors import BadInput
from pipelines.commands.complete import lab_names
from pipelines.commands.options import COMPARE, Home, Json, StoreUri, print_json, print_table

FIGURES = (".png", ".svg", ".pdf")
"""How a figure's file name may end."""
ANSWER_S = 120.0
"""Seconds in which MLflow's interface must answer; on a busy machine it takes half a minute."""


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    for command in (status, compare, ui, sync):
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


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Run ids or names of run folders, or their beginnings. Default: all runs."),
    ] = None,
    lab: Annotated[str | None, typer.Option(help="Compare only this lab's runs.", autocompletion=lab_names)] = None,
    pipeline: Annotated[str | None, typer.Option(help="Compare only the newest pipeline of this name.")] = None,
    by: Annotated[
        Literal["preset", "seed", "config"],
        typer.Option(help="What the runs of one row have in common: preset, or all settings (config); seed: one run."),
    ] = "config",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the validation curves to this file (PNG, SVG or PDF).")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="URI of an MLflow store to read. Default: the home folder's runs.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Compare finished runs: mean and standard deviation over seeds, the settings that differ, time."""
    import labs
    from pipelines.home import find_home
    from pipelines.show import compare as tables
    from pipelines.show import runs as read
    from pipelines.show.display import say
    from pipelines.tracking.writer import Store

    if lab is not None:
        labs.heading(lab)
    if figure is not None and figure.suffix.lower() not in FIGURES:
        raise BadInput(f"--figure {figure}: expected a name that ends with {' or '.join(FIGURES)}")
    where = find_home(home)
    if store is None:
        known = read.of_home(where, trials=bool(runs))
    else:
        found = Store(where, store)
        say(f"reading the runs of {found.shown_uri}")
        known = _read_store(found)
    chosen = known.choose(runs or [], lab, pipeline)
    rows = tables.compare(chosen, by)
    if not rows:
        of_lab = f" of lab {lab}" if lab else ""
        say(f"{known.place} has no finished run{of_lab} to compare: `labs train {lab or 'regression'}` makes one")
    if figure is not None:
        _draw(figure, chosen, rows)
    if as_json:
        return print_json(rows)
    keys = ["lab", "preset", "size", "metric", "goal", "mean", "std", "seeds", "seconds", "config"]
    drop = ("seeds", "std", "goal", "seconds")  # what a narrow screen loses, in this order
    columns = {key: key for key in keys}
    rows = [tables.with_short_seeds(row) for row in rows]
    if markdown:
        typer.echo(tables.markdown(rows, columns))
        return
    if rows:
        from pipelines.show.display import rows_table

        print_table(rows_table(rows, columns, drop=drop))


def _read_store(store: Any) -> Any:
    from pipelines.show import runs as read

    try:
        return store.while_it_answers(lambda: read.of_store(store))
    except Exception as error:  # MLflow, databases and their drivers each have errors of their own
        typer.echo(f"error: MLflow store {store.shown_uri} can't be read: {store.reason(error)}", err=True)
        raise typer.Exit(1) from None


def _draw(file: Path, runs: list[Any], rows: list[dict[str, Any]]) -> None:
    if not rows:
        raise BadInput(f"--figure {file}: there is no finished run to draw")

    from pipelines.show import curves

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        curves.draw(runs, rows).savefig(file, dpi=100)
    except OSError as error:
        raise BadInput(f"--figure {file} can't be written: {error.strerror}") from None


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
