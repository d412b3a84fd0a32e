"""`labs list`, `show`, `data` and `deliver`: about a lab, not about running it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from labs.core.errors import BadInput, summary
from labs.core.heading import MAX_SEED
from pipelines.commands.options import ABOUT, Home, Json, LabName, print_json, print_table, writable

ARROWS = {"min": "↓", "max": "↑"}
"""Which way a metric gets better."""


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command("list", rich_help_panel=ABOUT)(list_labs)
    for command in (show, data, deliver):
        app.command(rich_help_panel=ABOUT)(command)


def list_labs(as_json: Json = False) -> None:
    """List the labs with their metrics and presets."""
    import labs
    from pipelines.show.lesson import about

    rows = [about(heading) for heading in labs.COURSE.values()]
    if as_json:
        return print_json(rows)
    from pipelines.show.display import rows_table

    for row in rows:
        row["judged"] = f"{row['metric']['name']} {ARROWS[row['metric']['goal']]}"
    columns = {"number": "homework", "name": "lab", "title": "title", "judged": "metric", "presets": "presets"}
    print_table(rows_table(rows, columns))


def show(lab: LabName, home: Home = None, as_json: Json = False) -> None:
    """Explain a lab: its task, what each preset sets and costs, its data and its config fields."""
    import labs
    from pipelines.home import find_home
    from pipelines.show import lesson
    from pipelines.show.display import say, screen

    labs.heading(lab)
    say(f"{lab}: reading the lesson")
    found = labs.get(lab)
    document = lesson.document(found, find_home(home))
    if as_json:
        return print_json(document)
    typer.echo(lesson.words(found, screen.width))
    _print_tables(document)


def _print_tables(document: dict[str, Any]) -> None:
    from dataclasses import replace

    from pipelines.show.display import cell, clock, number, rows_table

    first, *others = document["presets"]
    sets = [{"preset": name, "sets": document["differences"][name]} for name in others]
    heading = f"sets otherwise than {first} (size small)"
    print_table(rows_table(sets, {"preset": "preset", "sets": heading}, "Presets"))
    cost = [
        {**row, "parameters": number(row["parameters"]), "megabytes": number(row["megabytes"])}
        for row in document["scale"]
    ]
    columns = {"preset": "preset", "size": "size", "parameters": "parameters",
               "megabytes": "MB of weights, gradients and Adam's state"}  # fmt: skip
    print_table(replace(rows_table(cost, columns, "Cost"), right=("parameters", "megabytes")))
    seconds = {row["size"]: row["seconds"] for row in document["scale"]}
    times = [{"size": size, "time": clock(taken) if taken else None} for size, taken in seconds.items()]
    print_table(rows_table(times, {"size": "size", "time": "time, roughly (course: on a GPU)"}, "Time of any preset"))
    absent = "made at the first training"
    rows = [{**row, "size_mb": row["bytes"] / 1e6 if row["made"] else absent} for row in document["data"]]
    if rows:
        print_table(rows_table(rows, {"size": "size", "samples": "samples", "size_mb": "MB"}, "Generated data"))
    else:
        typer.echo("No data set: the samples come from the environment.\n")
    fields = [
        {"field": name, **info, "default": str(info["default"]), "small": cell(info["small"])}
        for name, info in document["fields"].items()
    ]
    columns = {"field": "field", "default": "default", "small": f"{first}, small", "description": "meaning"}
    print_table(rows_table(fields, columns, "Config"))


def data(
    lab: LabName,
    make: Annotated[Path | None, typer.Option("--make", help="Generate data into this new folder.")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="Check a folder in the course's format.")] = None,
    data_seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the data that --make generates.")] = 0,
    like_course: Annotated[
        bool, typer.Option("--like-course", help="Generate as many samples as the course's data have.")
    ] = False,
    source: Annotated[str | None, typer.Option(help="Use real data for --make: catalogues (transformer).")] = None,
) -> None:
    """Generate a lab's data in the course's own format, or check a folder of that format."""
    import labs
    from pipelines.show.display import say

    labs.heading(lab)
    if (make is None) == (check is None):
        raise BadInput("give either --make DIR or --check DIR")
    if source and (check or like_course):
        raise BadInput("--source goes with --make alone: it has as many samples as it has")
    if make is not None and make.is_dir() and any(make.iterdir()):
        raise BadInput(f"{make} is not empty: name a new folder")
    if check is not None:
        say(f"{lab}: checking {check}")
        _check(lab, check)
    if make is not None:
        say(f"{lab}: making data in {make}")
        _make(lab, make, data_seed, source, "course" if like_course else "small")


def _check(lab: str, folder: Path) -> None:
    import labs
    from pipelines import datasets
    from pipelines.show.display import say, screen

    found = labs.get(lab)
    with screen.status(f"checking {folder}"):
        datasets.check(found, folder)
    say(f"{folder} can be trained on: labs train {lab} --data {folder}")


def _make(lab: str, folder: Path, seed: int, source: str | None, size: str) -> None:
    import labs
    from pipelines.show.display import say, screen

    found = labs.get(lab)
    if found.data is None:
        raise BadInput(f"lab {lab} has no data set: its data come from its environment")
    write = _writer(found, source, size)
    writable(folder, "--make")
    with screen.status(f"making data of lab {lab}"):
        write(folder, seed)
    say(f"made {folder}: labs train {lab} --data {folder}")


def _writer(lab: Any, source: str | None, size: str) -> Callable[[Path, int], None]:
    """What makes the data of a lab into a folder, from a seed."""
    from labs.core.errors import choices

    if source is None:
        return lambda folder, seed: lab.data.make(folder, seed, size)
    sources: dict[str, Callable[[Path, int], None]] = getattr(lab.data, "SOURCES", {})
    if source not in sources:
        known = choices(sources, source) if sources else f"lab {lab.name} has only data of its own, without --source"
        raise BadInput(f"unknown source {source!r}: {known}")
    return sources[source]


def deliver(
    lab: LabName,
    run: Annotated[
        str | None, typer.Option(help="MLflow run id or name of the run's folder, or its beginning.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    check: Annotated[Path | None, typer.Option(help="Check this submission file instead.")] = None,
    home: Home = None,
) -> None:
    """Write a run's submission file and report to a folder, or check a submission file."""
    import labs
    from pipelines.home import find_home
    from pipelines.show.display import say
    from pipelines.show.find import find_run

    labs.heading(lab)
    if check is not None:
        if not check.is_file():
            raise BadInput(f"submission file {check} {'is a folder' if check.is_dir() else 'does not exist'}")
        say(f"{lab}: checking {check}")
        try:
            faults = labs.get(lab).check_submission(check)
        except UnicodeDecodeError:
            faults = [f"{check} is not text in UTF-8"]
        except OSError as error:
            faults = [f"{check} can't be read: {error.strerror or error}"]
        if faults:
            raise BadInput(summary(faults))
        say(f"{check}: the judge would take it")
        return
    if run is None or out is None:
        raise BadInput("give either --run RUN and --out DIR, or --check FILE")
    folder = find_run(find_home(home), lab, run)
    writable(out, "--out")
    _deliver(lab, folder, out)
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        say(str(file))


def _deliver(lab: str, folder: Path, out: Path) -> None:
    """Copy what the run has delivered or, where that is not whole, write it anew."""
    import shutil

    from labs.core import delivery
    from pipelines.show.display import say, screen

    fault = delivery.fault(folder)
    if fault is None:
        say(f"{lab}: copying what run {folder.name} has delivered")
        if not out.samefile(folder / delivery.FOLDER):
            shutil.copytree(folder / delivery.FOLDER, out, dirs_exist_ok=True)
        return
    say(f"{lab}: delivering run {folder.name} anew, as {fault}")
    import labs
    from pipelines.datasets import packed_data

    data_dir = packed_data(folder)
    with screen.status("predicting the test set, drawing the report's figures"):
        labs.get(lab).deliver(folder, data_dir, out)
