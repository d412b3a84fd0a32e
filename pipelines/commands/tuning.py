"""`labs tune`: search for good settings of a lab."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer

from labs.core.heading import MAX_SEED
from pipelines.commands.options import (
    TUNE,
    Compile,
    CpusPerWorker,
    Data,
    Home,
    Json,
    LabName,
    PrecisionOption,
    Preset,
    Retries,
    Size,
    StoreUri,
    overrides,
    print_json,
)


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
    cpus_per_worker: CpusPerWorker = 1,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="GPUs of each worker, also a fraction such as 0.5. Default: 1 if the cluster has GPUs."),
    ] = None,
    precision: PrecisionOption = "auto",
    compile_: Compile = False,
    retries: Retries = 3,
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
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Sweep whose best config is the first trial: its folder's name, or a beginning."),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="YAML file of the search space. Default: the lab's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the search and of every trial.")] = 0,
    data: Data = None,
    store: StoreUri = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Search for good settings of a lab. The same command again continues; more trials extend the sweep."""
    import labs
    from labs.core.errors import BadInput
    from pipelines.show.display import say
    from pipelines.spec import Node, tuning_of
    from pipelines.spec_fields import Limits, TrialResources, TuneSpec, from_options
    from pipelines.tuning.space import own_space, read_space

    preset = labs.heading(lab).choose(preset, size)
    asked = {"workers": workers, "cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker,
             "precision": precision, "compile": compile_}  # fmt: skip
    resources = from_options(TrialResources, **asked)
    spec = from_options(TuneSpec, trials=trials, time=time, search=search, scheduler=scheduler, concurrent=concurrent,
                        seed=seed, **{"from": from_})  # fmt: skip
    limits = from_options(Limits, retries=retries)
    say(f"{lab}: reading the lesson")
    found = labs.get(lab)
    written = read_space(space) if space else own_space(found, size)
    for name in overrides(None, set_ or []):
        if name in written:
            raise BadInput(f"field {name!r} is searched: --fix {name}=... takes it out of the search space")
    fixed = overrides(None, [*(set_ or []), *(fix or [])])
    spec = spec.model_copy(update={"space": written})
    tuning = tuning_of(spec, found, preset, size, fixed, where=f"search space {space}" if space else "")
    say(f"tuning {lab} {preset} {size} seed {seed}: starting")
    node = Node(lab, lab, preset, size, tuning.space.base, seed, resources=resources, retries=limits.retries,
                data=data and data.resolve())  # fmt: skip

    from pipelines.home import find_home
    from pipelines.show.reporter import ScreenReporter
    from pipelines.show.sweep import interrupted_sweep, show_sweep, sweep_document
    from pipelines.tracking.writer import Store
    from pipelines.tuning.command import run_sweep

    where = find_home(home)
    found_store = Store(where, store)
    with redirect_stdout(sys.stderr):  # as for other commands: standard output is the document's
        sweep, code = run_sweep(where, node, tuning, found_store, ScreenReporter())
        summary = sweep_document(sweep, found_store) if sweep else interrupted_sweep(lab)
        if sweep:
            show_sweep(summary, home)
    if as_json:
        print_json(summary)
    raise typer.Exit(code)
