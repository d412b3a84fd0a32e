"""Arguments and options that several commands share, how `--set` is read, and how commands print their result."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from labs.core.errors import BadInput, shown
from labs.core.heading import Precision
from pipelines.commands.complete import lab_names, preset_names, size_names, spec_names

TRAIN, TUNE, COMPARE = "Train and scale", "Tune", "Compare runs"
SUBMIT, ABOUT = "Submit to a cluster", "Labs and data"
"""Groups of commands in `labs --help`, by what the program is used for."""

LabName = Annotated[
    str, typer.Argument(help="Name of the lab; `labs list` shows all.", metavar="LAB", autocompletion=lab_names)
]
Preset = Annotated[
    str | None,
    typer.Option(help="Preset of the lab. Default: the lab's first one.", autocompletion=preset_names),
]
Size = Annotated[
    str,
    typer.Option(
        help="How much compute: tiny (seconds), small (minutes) or course (the course's own scale, GPUs).",
        autocompletion=size_names,
    ),
]
Spec = Annotated[
    Path | None,
    typer.Argument(
        help="Pipeline spec: a YAML file, or the name of a spec that comes with the program. Default: course.",
        metavar="[SPEC]",
        autocompletion=spec_names,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        help="Take only this node and the nodes that it needs; several: give it several times.", metavar="NODE"
    ),
]
Data = Annotated[Path | None, typer.Option(help="Folder with data in the course's format. Default: generated data.")]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder of all data, runs and the MLflow store. Default: LABS_HOME, or .labs in this folder."
    ),
]
StoreUri = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="URI of the MLflow store, such as http://host:5000. Default: MLFLOW_TRACKING_URI, or SQLite in the home "
        "folder.",
        envvar="MLFLOW_TRACKING_URI",
        show_envvar=False,
    ),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Set a config field: field=value. Repeatable.", metavar="FIELD=VALUE")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Number format: auto (on GPUs bf16, or fp16 where the card has no bf16; on CPUs fp32), fp32 (exact), "
        "tf32, bf16 or fp16.",
    ),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Compile the networks with torch.compile: a minute once, then faster steps."),
]
CpusPerWorker = Annotated[int, typer.Option(help="CPUs, and so threads, of each worker.")]
GpusPerWorker = Annotated[
    float | None, typer.Option(help="GPUs of each worker. Default: 1 if the cluster has GPUs, else 0.")
]
Retries = Annotated[int, typer.Option(help="How often lost workers are started again; of a sweep: of each trial.")]
Force = Annotated[bool, typer.Option("--force", help="Run again what has already finished.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def writable(folder: Path, option: str) -> None:
    """Make a folder that is written to later; `BadInput` if that can't be done, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{option} {folder}: the folder can't be made: {error.strerror}") from None


def overrides(config: Path | None, assignments: list[str]) -> dict[str, Any]:
    """Config fields of a YAML file, then of `--set field=value`; values are read as YAML."""
    from pipelines.yaml_lines import read_fields

    fields = {} if config is None else read_fields(config, "config file")
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise BadInput(f"--set {shown(assignment)} must be field=value")
        fields[name] = _value(value, f"--set {shown(assignment)}")
    return fields


def _value(text: str, where: str) -> Any:
    """A value as YAML reads it, and 1e-3 as a number too, which YAML 1.1 takes for a word."""
    from pipelines.yaml_lines import parse

    with suppress(ValueError):
        return float(text) if "e" in text.lower() else parse(text, where)
    return parse(text, where)


def print_json(document: Any) -> None:
    """One JSON document on standard output; JSON has no number that is not finite, so such a one is null."""
    typer.echo(json.dumps(_finite(document), indent=2, default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(table: Any) -> None:
    """A rich table on standard output."""
    import sys

    from rich.console import Console

    from pipelines.show.display import columns_of

    Console(width=columns_of(sys.stdout)).print(table)
