"""`labs compare`, `sync` and `ui`: about what was run."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from labs.core.errors import BadInput
from pipelines.commands.options import Home, Json, StoreUri, print_json, print_table

FIGURES = (".png", ".svg", ".pdf")
"""How a figure's file name may end."""


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command()(compare)
    app.command()(sync)
    app.command()(ui)


def compare(
    runs: Annotated[list[str] | None, typer.Argument(help="Run ids, or their beginnings; all by default.")] = None,
    lab: Annotated[str | None, typer.Option(help="Only this lab's runs.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only the runs of the newest pipeline of this name.")] = None,
    by: Annotated[Literal["preset", "seed", "config"], typer.Option(help="What makes a row.")] = "config",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the validation curves to this file, too (PNG, SVG, PDF).")
    ] = None,
    store: StoreUri = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Compare finished runs: mean and deviation over seeds, the settings that differ, time."""
    import labs
    from pipelines.home import find_home
    from pipelines.show import compare as tables
    from pipelines.show import curves
    from pipelines.tracking.writer import Store

    if lab is not None:
        labs.get(lab)
    if figure is not None and figure.suffix.lower() not in FIGURES:
        raise BadInput(f"--figure {figure}: expected a name that ends with {' or '.join(FIGURES)}")
    found = Store(find_home(home), store)
    rows = tables.compare(tables.find_runs(found, runs or [], lab, pipeline), by)
    if figure is not None:
        if not rows:
            raise BadInput(f"--figure {figure}: there is no finished run to draw")
        try:
            figure.parent.mkdir(parents=True, exist_ok=True)
            curves.draw(found, rows).savefig(figure, dpi=100)
        except OSError as error:
            raise BadInput(f"--figure {figure} can't be written: {error.strerror}") from None
    if as_json:
        return print_json(rows)
    keys = ["lab", "preset", "size", "metric", "goal", "mean", "std", "seeds", "seconds", "config"]
    columns = {key: key for key in keys}
    if markdown:
        typer.echo(tables.markdown(rows, columns))
        return
    from pipelines.show.display import rows_table

    print_table(rows_table(rows, columns))


def sync(store: StoreUri = None, home: Home = None) -> None:
    """Complete the mirror of all runs of the home folder in MLflow."""
    from pipelines.home import find_home, reconcile
    from pipelines.show.display import say
    from pipelines.tracking.writer import Store, StoreUnreachable

    where = find_home(home)
    reconcile(where)
    found = Store(where, store)
    try:
        count = found.sync_all()
    except StoreUnreachable as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None
    say(f"{found.shown_uri}: {count} runs and pipelines written")


def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000, store: StoreUri = None, home: Home = None
) -> None:
    """Open MLflow's interface on this machine (loopback only) until Ctrl-C."""
    import subprocess

    from pipelines.home import find_home
    from pipelines.show.display import say
    from pipelines.tracking.writer import Store

    found = Store(find_home(home), store)
    if found.uri.startswith("http"):
        say(f"the store has its own interface: {found.shown_uri}")
        return
    found.client()
    say(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    # Not as an argument: a database's password would stand in the list of processes.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": found.uri}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    raise typer.Exit(subprocess.run(command, env=environment).returncode)
