"""`labs compare`: which settings are best, how sure that is, and what they cost."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from labs.core.errors import BadInput
from pipelines.commands.complete import lab_names
from pipelines.commands.options import COMPARE, Home, Json, print_json, print_table

FIGURES = (".png", ".svg", ".pdf")
"""How a figure's file name may end."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=COMPARE)(compare)


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
    baseline: Annotated[
        str | None,
        typer.Option(
            help="What the other rows are compared with: a preset, a run, or the name of a row. Default: the lab's "
            "first preset, of most `simple`.",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the validation curves to this file (PNG, SVG or PDF).")
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="URI of an MLflow store to read. Default: the home folder's runs.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Compare runs over seeds, best first: mean, 95 % interval, difference to a baseline with a verdict, cost."""
    import labs
    from pipelines.home import find_home
    from pipelines.show import compare as comparing
    from pipelines.show.display import say

    if lab is not None:
        labs.heading(lab)
    if markdown + as_csv + as_json > 1:
        raise BadInput("--markdown, --csv and --json: name one of them")
    if figure is not None and figure.suffix.lower() not in FIGURES:
        raise BadInput(f"--figure {figure}: expected a name that ends with {' or '.join(FIGURES)}")
    known = _read(find_home(home), store, trials=bool(runs))
    chosen = known.choose(runs or [], lab, pipeline)
    rows = comparing.compare(chosen, by, baseline)
    scored = [row for row in rows if row["status"] == "FINISHED"]
    if not scored:
        of_lab = f" of lab {lab}" if lab else ""
        say(f"{known.place} has no finished run{of_lab} to compare: `labs train {lab or 'regression'}` makes one")
    if figure is not None:
        _draw(figure, chosen, scored)
        say(f"figure: {figure}")
    if as_json:
        print_json(rows)
    elif rows:
        _print(rows, markdown=markdown, as_csv=as_csv)


def _print(rows: list[dict[str, Any]], *, markdown: bool, as_csv: bool) -> None:
    from pipelines.show import compare_tables as tables

    if as_csv:
        typer.echo(tables.as_csv(rows), nl=False)
    elif markdown:
        typer.echo(tables.markdown(rows))
    else:
        print_table(tables.Comparison(rows))


def _read(home: Path, uri: str | None, *, trials: bool) -> Any:
    """The runs of the home folder or, where the user names one, of an MLflow store."""
    from pipelines.show import runs as read
    from pipelines.show.display import say
    from pipelines.tracking.writer import Store

    if uri is None:
        return read.of_home(home, trials=trials)
    store = Store(home, uri)
    say(f"reading the runs of {store.shown_uri}")
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
