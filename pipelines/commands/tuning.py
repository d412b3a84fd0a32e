"""`labs tune`: search for good settings of a lab."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands.options import TUNE, Data, Home, Json, LabName, Preset, Size, StoreUri, print_json
from pipelines.commands.running import overrides


def add_to(app: typer.Typer) -> None:
    """Add the command to the program's."""
    app.command(rich_help_panel=TUNE)(tune)


def tune(
    lab: LabName,
    trials: Annotated[int, typer.Option(help="Number of trials in all; more than before extend the sweep.")] = 20,
    time: Annotated[
        float | None, typer.Option(help="Seconds after which the sweep ends: running trials save and stop.")
    ] = None,
    search: Annotated[
        Literal["tpe", "random", "grid"],
        typer.Option(help="How configs are chosen: by Optuna's TPE, at random, or all of a grid."),
    ] = "tpe",
    scheduler: Annotated[
        Literal["asha", "none"], typer.Option(help="asha ends bad trials early; none runs all to the end.")
    ] = "asha",
    workers: Annotated[int, typer.Option(help="Workers of each trial; from 2 on they are Ray Train workers.")] = 1,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="GPUs of each worker, also a fraction such as 0.5. Default: 1 if the cluster has GPUs."),
    ] = None,
    concurrent: Annotated[str, typer.Option(help="Trials that run at a time; auto: as many as fit.")] = "auto",
    preset: Preset = None,
    size: Size = "small",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a config field that is not searched: field=value. Repeatable."),
    ] = None,
    fix: Annotated[
        list[str] | None, typer.Option(help="Take a field out of the search space: field=value. Repeatable.")
    ] = None,
    space: Annotated[Path | None, typer.Option(help="YAML file of the search space. Default: the lab's own.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search and of every trial.")] = 0,
    data: Data = None,
    store: StoreUri = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Search for good settings of a lab. The same command again continues; more trials extend the sweep."""
    import labs
    from labs.core.errors import BadInput
    from pipelines.show.display import say
    from pipelines.spec import Node, Resources, Tuning
    from pipelines.tuning.space import Space, own_space, read_space

    preset = labs.heading(lab).choose(preset, size)
    for name, value in (("trials", trials), ("workers", workers)):
        if value < 1:
            raise BadInput(f"field '--{name}' is {value}: at least 1 is right")
    if time is not None and time <= 0:
        raise BadInput(f"field '--time' is {time:g}: more than 0 is right")
    if gpus_per_worker is not None and gpus_per_worker < 0:
        raise BadInput(f"field '--gpus-per-worker' is {gpus_per_worker}: at least 0 is right")
    if concurrent != "auto" and not (concurrent.isdigit() and int(concurrent)):
        raise BadInput(f"field '--concurrent' is {concurrent!r}: auto or a number from 1 on is right")
    say(f"tuning {lab} {preset} {size} seed {seed}: starting")
    found = labs.get(lab)
    written = read_space(space) if space else own_space(found, size)
    fixed = overrides(None, [*(set_ or []), *(fix or [])])
    for name in overrides(None, set_ or []):
        if name in written:
            raise BadInput(f"field {name!r} is searched: --fix {name}=... takes it out of the search space")
    searched = Space(found, written, preset, size, fixed, where=f"search space {space}" if space else "")
    if search == "grid":
        searched.grid()
    node = Node(
        lab,
        lab,
        preset,
        size,
        searched.base,
        seed,
        resources=Resources(workers=workers, gpus_per_worker=gpus_per_worker),
        data=data and data.resolve(),
    )
    tuning = Tuning(searched, search, scheduler, trials, time, None if concurrent == "auto" else int(concurrent))

    from pipelines.home import find_home
    from pipelines.tracking.writer import Store
    from pipelines.tuning.command import run_sweep
    from pipelines.show.sweep import show

    where = find_home(home)
    with redirect_stdout(sys.stderr):  # as for other commands: standard output is the document's
        summary, code = run_sweep(where, node, tuning, Store(where, store))
        show(summary, home)
    if as_json:
        print_json(summary)
    raise typer.Exit(code)
