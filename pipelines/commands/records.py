"""`labs status` and `sync`: about what was run."""

from typing import Annotated

import typer

from pipelines.commands.options import COMPARE, Home, Json, StoreUri, print_json, print_table


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    for command in (status, sync):
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
