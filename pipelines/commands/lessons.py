"""`labs list`, `show`, `data` and `deliver`: about a lab, not about running it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import Home, Json, LabName, print_json, print_table


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command("list")(list_labs)
    app.command()(show)
    app.command()(data)
    app.command()(deliver)


def list_labs(as_json: Json = False) -> None:
    """List the labs with their metrics, presets and sizes."""
    import labs

    rows = [_about(labs.get(name)) for name in labs.names()]
    if as_json:
        return print_json(rows)
    from pipelines.show.display import rows_table

    for row in rows:
        row["judged"] = f"{row['metric']['name']} ({row['metric']['goal']})"
    columns = {"number": "homework", "name": "lab", "title": "title", "judged": "metric", "presets": "presets"}
    print_table(rows_table(rows, columns))


def show(lab: LabName, as_json: Json = False) -> None:
    """Show a lab: what it teaches, its fields, presets and sizes, with parameters and memory."""
    import inspect

    import labs

    found = labs.get(lab)
    document = _about(found)
    document["fields"] = {
        name: {"default": info.get_default(call_default_factory=True), "description": info.description}
        for name, info in found.config.model_fields.items()
    }
    document["scale"] = [found.scale(preset, size) for preset in found.presets for size in found.sizes]
    if as_json:
        return print_json(document)
    from pipelines.show.display import rows_table, screen

    screen.print(inspect.getdoc(sys.modules[found.train.__module__]), markup=False)
    fields = [{"field": name, **info} for name, info in document["fields"].items()]
    for row in fields:
        row["default"] = str(row["default"])
    print_table(rows_table(fields, {"field": "field", "default": "default", "description": "meaning"}, "Config"))
    columns = {"preset": "preset", "size": "size", "parameters": "parameters", "megabytes": "MB of weights,"
               " gradients and Adam's state"}  # fmt: skip
    print_table(rows_table(document["scale"], columns, "Scale"))


def data(
    lab: LabName,
    make: Annotated[Path | None, typer.Option("--make", help="Write embedded data to this new folder.")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="Check a folder in the course's format.")] = None,
    data_seed: Annotated[int, typer.Option(help="Seed of the data that --make writes.")] = 0,
    like_course: Annotated[bool, typer.Option("--like-course", help="Make as many samples as the course has.")] = False,
    source: Annotated[str | None, typer.Option(help="Real data for --make: catalogues (transformer).")] = None,
) -> None:
    """Make embedded data in the course's own format, or check a folder of that format."""
    import labs
    from labs.core.errors import BadInput
    from pipelines import datasets
    from pipelines.show.display import say, screen

    found = labs.get(lab)
    if (make is None) == (check is None):
        raise BadInput("give either --make DIR or --check DIR")
    if source and (check or like_course):
        raise BadInput("--source goes with --make alone: it has as many samples as it has")
    if check is not None:
        with screen.status(f"checking {check}"):
            datasets.check(found, check)
        say(f"{check} can be trained on: labs train {lab} --data {check}")
    if make is not None:
        if found.data is None:
            raise BadInput(f"lab {lab} has no data set: its data come from its environment")
        if make.exists() and any(make.iterdir()):
            raise BadInput(f"{make} is not empty: name a new folder")
        write = _writer(found, source, "course" if like_course else "small")
        make.mkdir(parents=True, exist_ok=True)
        with screen.status(f"making data of lab {lab}"):
            write(make, data_seed)
        say(f"made {make}: labs train {lab} --data {make}")


def _writer(lab: Any, source: str | None, size: str) -> Callable[[Path, int], None]:
    """What makes the data of a lab into a folder, from a seed."""
    from labs.core.errors import BadInput, choices

    if source is None:
        return lambda folder, seed: lab.data.make(folder, seed, size)
    sources: dict[str, Callable[[Path, int], None]] = getattr(lab.data, "SOURCES", {})
    if source not in sources:
        known = choices(sources, source) if sources else f"lab {lab.name} has only data of its own, without --source"
        raise BadInput(f"unknown source {source!r}: {known}")
    return sources[source]


def deliver(
    lab: LabName,
    run: Annotated[str | None, typer.Option(help="MLflow run id, run folder or its name.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    check: Annotated[Path | None, typer.Option(help="A submission file to check instead.")] = None,
    home: Home = None,
) -> None:
    """Write what the course asks for from a finished run, or check a submission file."""
    import labs
    from labs.core.errors import BadInput
    from pipelines.home import find_home, read_record
    from pipelines.show.display import say
    from pipelines.show.find import find_run

    found = labs.get(lab)
    if check is not None:
        if not check.is_file():
            raise BadInput(f"submission file {check} does not exist")
        faults = found.check_submission(check)
        if faults:
            raise BadInput("; ".join(faults))
        say(f"{check}: the judge would take it")
        return
    if run is None or out is None:
        raise BadInput("give either --run RUN and --out DIR, or --check FILE")
    folder = find_run(find_home(home), lab, run)
    found.deliver(folder, Path(read_record(folder)["data"]["packed"]), out)
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        say(str(file))


def _about(lab: Any) -> dict[str, Any]:
    metric = {"name": lab.metric.name, "goal": lab.metric.goal, "thresholds": dict(lab.metric.thresholds)}
    about = {"name": lab.name, "number": lab.number, "title": lab.title, "metric": metric}
    return {**about, "presets": list(lab.presets), "sizes": list(lab.sizes)}
