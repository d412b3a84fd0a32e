"""Options that several commands share, and how they print."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[Path | None, typer.Option("--home", help="Home folder; LABS_HOME or .labs by default.")]
StoreUri = Annotated[str | None, typer.Option("--store", help="MLflow store; SQLite in the home folder by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Run again what has already finished.")]
LabName = Annotated[str, typer.Argument(help="A lab's name; `labs list` shows them.", metavar="LAB")]
Spec = Annotated[Path | None, typer.Argument(help="Pipeline spec; the course by default.", metavar="[SPEC]")]


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, default=str))


def print_table(table: Any) -> None:
    """A rich table on standard output."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(table)
