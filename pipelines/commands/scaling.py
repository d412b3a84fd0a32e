"""`labs scale`: how a lab's speed grows with its workers."""

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

from labs.core.errors import BadInput, shown
from pipelines.commands.options import (
    TRAIN,
    CpusPerWorker,
    Force,
    GpusPerWorker,
    Home,
    Json,
    LabName,
    PrecisionOption,
    Preset,
    Set,
    Size,
    StoreUri,
    overrides,
    print_json,
    print_table,
)


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=TRAIN)(scale)


def scale(
    lab: LabName,
    workers: Annotated[str, typer.Option(help="Counts of workers, with commas.")] = "1,2",
    preset: Preset = None,
    size: Size = "small",
    set_: Set = None,
    epochs: Annotated[
        int, typer.Option(min=1, help="Epochs of each run; the first does not count where there are more.")
    ] = 4,
    cpus_per_worker: CpusPerWorker = 1,
    gpus_per_worker: GpusPerWorker = None,
    precision: PrecisionOption = "auto",
    store: StoreUri = None,
    home: Home = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure a lab on several counts of workers: speed, efficiency, communication, memory.

    A plain script of torchrun with the same network, loss and batch is measured beside each count that this machine
    holds. It is the lab's own loop with torch's DataLoader and DDP, without Ray, MLflow, checkpoints and events. A
    model of the step's time, fitted to the two smallest counts, predicts the larger ones.
    """
    import labs
    from pipelines.show.display import say
    from pipelines.spec_fields import NodeResources, from_options

    preset = labs.heading(lab).choose(preset, size)
    counts = _counts(workers)
    asked = {"cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker, "precision": precision}
    resources = from_options(NodeResources, workers=counts[-1], **asked)
    fields = overrides(None, set_ or [])
    if "epochs" in fields:
        raise BadInput("--set epochs: give the epochs of labs scale by --epochs")
    fields["epochs"] = epochs
    say(f"scaling {lab} {preset} {size}, workers {workers}: starting")

    from pipelines.home import find_home
    from pipelines.scaling.command import run_scale
    from pipelines.scaling.nodes import Scaled
    from pipelines.show.reporter import ScreenReporter
    from pipelines.show.scale import scale_table, sentences
    from pipelines.show.summary import pipeline_document, show_state
    from pipelines.tracking.writer import Store

    where = find_home(home)
    found = Store(where, store)
    scaled = Scaled(lab, preset, size, counts, fields, resources)
    with redirect_stdout(sys.stderr):  # as for other commands: standard output is the document's
        folder, rows, code = run_scale(where, scaled, found, ScreenReporter(), force=force)
        if folder and not rows:
            show_state(pipeline_document(folder, found))
    if rows and not as_json:
        print_table(scale_table(rows))
        for sentence in sentences(rows):
            say(sentence)
        say(f"figure: {folder}/figures/scaling.png")
    if as_json:
        print_json(rows)
    raise typer.Exit(code)


def _counts(text: str) -> tuple[int, ...]:
    """The counts of workers of `--workers`, in ascending order."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise BadInput(f"--workers {shown(text)} must be numbers from 1 on with commas between them, such as 1,2,4")
    return tuple(sorted({int(part) for part in parts}))
