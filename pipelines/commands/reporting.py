"""`labs report`: what was run, as one HTML file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.complete import lab_names
from pipelines.commands.options import COMPARE, Home, writable

if TYPE_CHECKING:
    from pipelines.report.scope import Scope


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=COMPARE)(report)


def report(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a pipeline, or of the folder of a pipeline or a sweep, or its beginning. Default: all runs.",
            metavar="[PIPELINE|SWEEP]",
        ),
    ] = None,
    lab: Annotated[str | None, typer.Option(help="Report only this lab's runs.", autocompletion=lab_names)] = None,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write. Default: in the folder reports of the home folder.")
    ] = None,
    home: Home = None,
) -> None:
    """Write a report as one HTML file: results, learning curves, figures, failures, the pipeline's timeline."""
    from pipelines.home import find_home, reconcile
    from pipelines.report import scope

    where = find_home(home)
    if out is not None:
        writable(out.parent, "--out")
    reconcile(where)
    _write(where, scope.choose(where, name, lab), out)


def write_at_end(folder: Path) -> None:
    """Write the report of a pipeline that has ended; what goes wrong is only a warning."""
    from pipelines.home import read_record
    from pipelines.report import scope
    from pipelines.show.display import say

    try:
        _write(folder.parents[1], scope.of_pipeline(folder, read_record(folder)), None)
    except Exception as error:  # the pipeline has ended, well or not: its own end counts
        say(f"warning: the report was not written ({type(error).__name__}: {error}); `labs report` tries again")


def _write(home: Path, chosen: "Scope", out: Path | None) -> None:
    from pipelines.report import page
    from pipelines.show.display import say, screen

    file = out or page.place(home, chosen)
    with screen.status("writing the report"):
        size = page.write(home, chosen, file)
    say(f"report: {file} ({size / 1e6:.1f} MB)")
