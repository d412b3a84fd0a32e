"""The command `labs`. Heavy libraries are imported by the commands that need them, so that `labs --help` is quick."""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="The labs of NTU's Machine Learning course (Spring 2022) on Ray, tracked in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
pipeline_app = typer.Typer(help="Run and plan pipelines of labs.", no_args_is_help=True)
app.add_typer(pipeline_app, name="pipeline")

Home = Annotated[Path | None, typer.Option("--home", help="Home folder; LABS_HOME or .labs by default.")]
StoreUri = Annotated[str | None, typer.Option("--store", help="MLflow store; SQLite in the home folder by default.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Run again what has already finished.")]
LabName = Annotated[str, typer.Argument(help="A lab's name; `labs list` shows them.", metavar="LAB")]
Spec = Annotated[Path | None, typer.Argument(help="Pipeline spec; the course by default.", metavar="[SPEC]")]


def main() -> None:
    """Entry point: bad input is one sentence and exit code 2; a bug keeps its traceback."""
    from cluster.errors import ClusterError
    from labs.errors import BadInput

    try:
        app()
    except (BadInput, ClusterError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command("list")
def list_labs(as_json: Json = False) -> None:
    """List the labs with their metrics, presets and sizes."""
    import labs

    rows = [_about(labs.get(name)) for name in labs.names()]
    if as_json:
        return _print_json(rows)
    from pipelines.display import rows_table

    for row in rows:
        row["judged"] = f"{row['metric']['name']} ({row['metric']['goal']})"
    columns = {"number": "homework", "name": "lab", "title": "title", "judged": "metric", "presets": "presets"}
    _print_table(rows_table(rows, columns))


@app.command()
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
        return _print_json(document)
    from pipelines.display import rows_table, screen

    screen.print(inspect.getdoc(sys.modules[found.train.__module__]), markup=False)
    fields = [{"field": name, **info} for name, info in document["fields"].items()]
    for row in fields:
        row["default"] = str(row["default"])
    _print_table(rows_table(fields, {"field": "field", "default": "default", "description": "meaning"}, "Config"))
    columns = {"preset": "preset", "size": "size", "parameters": "parameters", "megabytes": "MB of weights,"
               " gradients and Adam's state"}  # fmt: skip
    _print_table(rows_table(document["scale"], columns, "Scale"))


@app.command()
def data(
    lab: LabName,
    make: Annotated[Path | None, typer.Option("--make", help="Write embedded data to this new folder.")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="Check a folder in the course's format.")] = None,
    data_seed: Annotated[int, typer.Option(help="Seed of the data that --make writes.")] = 0,
    like_course: Annotated[bool, typer.Option("--like-course", help="Make as many samples as the course has.")] = False,
) -> None:
    """Make embedded data in the course's own format, or check a folder of that format."""
    import labs
    from labs.errors import BadInput
    from pipelines import datasets
    from pipelines.display import say, screen

    found = labs.get(lab)
    if (make is None) == (check is None):
        raise BadInput("give either --make DIR or --check DIR")
    if check is not None:
        datasets.check(found, check)
        say(f"{check} can be trained on: labs train {lab} --data {check}")
    if make is not None:
        if found.data is None:
            raise BadInput(f"lab {lab} has no data set: its data come from its environment")
        if make.exists() and any(make.iterdir()):
            raise BadInput(f"{make} is not empty: name a new folder")
        make.mkdir(parents=True, exist_ok=True)
        with screen.status(f"making data of lab {lab}"):
            found.data.make(make, data_seed, "course" if like_course else "small")
        say(f"made {make}: labs train {lab} --data {make}")


@app.command()
def train(
    lab: LabName,
    preset: Annotated[str | None, typer.Option(help="Rung of the ladder; the first one by default.")] = None,
    size: Annotated[str, typer.Option(help="tiny, small or course.")] = "small",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Config field, as field=value.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of config fields.")] = None,
    workers: Annotated[int, typer.Option(help="Ray Train workers; 0 trains in this process, without Ray.")] = 1,
    gpus_per_worker: Annotated[float | None, typer.Option(help="One if the cluster has GPUs, by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder in the course's format; embedded data by default.")] = None,
    store: StoreUri = None,
    home: Home = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train one lab (and what it needs); the same command again continues, or says that it has finished."""
    import labs
    from labs.errors import BadInput
    from pipelines.spec import Node, Resources, default_needs

    if workers < 0:
        raise BadInput(f"field '--workers' is {workers}: at least 0 is right")
    if gpus_per_worker is not None and gpus_per_worker < 0:
        raise BadInput(f"field '--gpus-per-worker' is {gpus_per_worker}: at least 0 is right")
    found = labs.get(lab)
    preset = preset or next(iter(found.presets))
    resolved = found.resolve(preset, size, _overrides(config, set_ or []))
    node = Node(
        lab,
        lab,
        preset,
        size,
        resolved,
        seed,
        resources=Resources(workers=workers, gpus_per_worker=gpus_per_worker),
        data=data and data.resolve(),
    )
    summary, code = _run(home, store, f"train-{lab}", default_needs(node), force=force, quiet=as_json)
    if as_json:
        own = next((row for row in summary["nodes"] if row["name"] == lab), None)
        _print_json(_train_document(node, summary, own))
    raise typer.Exit(code)


@pipeline_app.command("run")
def pipeline_run(
    spec: Spec = None,
    only: Annotated[str | None, typer.Option(help="Only this node and what it needs.", metavar="NODE")] = None,
    store: StoreUri = None,
    home: Home = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a pipeline; the same command again continues, or says that it has finished."""
    from pipelines.spec import COURSE

    name, nodes = _nodes(spec, only)
    text = (spec or COURSE).read_text()
    summary, code = _run(home, store, name, nodes, spec=text, force=force, quiet=as_json)
    if as_json:
        _print_json(summary)
    raise typer.Exit(code)


@pipeline_app.command("plan")
def pipeline_plan(
    spec: Spec = None,
    only: Annotated[str | None, typer.Option(help="Only this node and what it needs.", metavar="NODE")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what a pipeline would do: what is cached, what each node takes, how long it lasts."""
    from cluster import capacity
    from pipelines.home import find_home
    from pipelines.lookup import plan_document

    document = plan_document(find_home(home), _nodes(spec, only)[1], capacity.local())
    if as_json:
        return _print_json(document)
    from pipelines.display import clock, rows_table, say

    columns = {"name": "node", "cached": "cached", "seconds": "seconds", "resources": "resources"}
    _print_table(rows_table(document["nodes"], columns))
    fits = "fits" if document["fits"] else "does not fit"
    say(f"about {clock(document['makespan_s'])} (no schedule takes less than {clock(document['bound_s'])}); {fits}")
    for fault in document["faults"]:
        say(fault, "red")


@app.command()
def status(
    pipeline: Annotated[str | None, typer.Argument(help="Its name; the newest pipeline by default.")] = None,
    store: StoreUri = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show the newest pipeline of the home folder, or the newest of a name."""
    from pipelines.home import find_home
    from pipelines.lookup import newest_pipeline
    from pipelines.tracking import Store

    where = find_home(home)
    summary = newest_pipeline(where, pipeline, Store(where, store))
    if as_json:
        return _print_json(summary)
    from pipelines.display import screen, summary_table

    screen.print(summary_table(summary))


@app.command()
def deliver(
    lab: LabName,
    run: Annotated[str | None, typer.Option(help="MLflow run id, run folder or its name.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    check: Annotated[Path | None, typer.Option(help="A submission file to check instead.")] = None,
    home: Home = None,
) -> None:
    """Write what the course asks for from a finished run, or check a submission file."""
    import labs
    from labs.errors import BadInput
    from pipelines.display import say
    from pipelines.home import find_home, read_record
    from pipelines.lookup import find_run

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


@app.command()
def compare(
    runs: Annotated[list[str] | None, typer.Argument(help="Run ids, or their beginnings; all by default.")] = None,
    lab: Annotated[str | None, typer.Option(help="Only this lab's runs.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only the runs of the newest pipeline of this name.")] = None,
    by: Annotated[Literal["preset", "seed", "config"], typer.Option(help="What makes a row.")] = "config",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    store: StoreUri = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Compare finished runs: mean and deviation over seeds, the settings that differ, time."""
    import labs
    from pipelines import compare as tables
    from pipelines.home import find_home
    from pipelines.tracking import Store

    if lab is not None:
        labs.get(lab)
    rows = tables.compare(tables.find_runs(Store(find_home(home), store), runs or [], lab, pipeline), by)
    if as_json:
        return _print_json(rows)
    keys = ["lab", "preset", "size", "metric", "goal", "mean", "std", "seeds", "seconds", "config"]
    columns = {key: key for key in keys}
    if markdown:
        typer.echo(tables.markdown(rows, columns))
        return
    from pipelines.display import rows_table

    _print_table(rows_table(rows, columns))


@app.command()
def sync(store: StoreUri = None, home: Home = None) -> None:
    """Complete the mirror of all runs of the home folder in MLflow."""
    from pipelines.display import say
    from pipelines.home import find_home, reconcile
    from pipelines.tracking import Store, StoreUnreachable

    where = find_home(home)
    reconcile(where)
    found = Store(where, store)
    try:
        count = found.sync_all()
    except StoreUnreachable as error:
        say(f"error: {error}")
        raise typer.Exit(1) from None
    say(f"{found.shown_uri}: {count} runs and pipelines written")


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000, store: StoreUri = None, home: Home = None
) -> None:
    """Open MLflow's interface on this machine (loopback only) until Ctrl-C."""
    import subprocess

    from pipelines.display import say
    from pipelines.home import find_home
    from pipelines.tracking import Store

    found = Store(find_home(home), store)
    if found.uri.startswith("http"):
        say(f"the store has its own interface: {found.shown_uri}")
        return
    found.client()
    say(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    # Not as an argument: a database's password would stand in the list of processes.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": found.uri}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    raise typer.Exit(subprocess.run(command, env=environment).returncode)


def _run(
    home: Path | None, store: str | None, name: str, nodes: list[Any], *, spec: str = "", force: bool, quiet: bool
) -> tuple[dict[str, Any], int]:
    from pipelines import execute
    from pipelines.home import find_home
    from pipelines.tracking import Store

    where = find_home(home)
    found = Store(where, store)
    with redirect_stdout(sys.stderr):  # Ray prints what it has to say about lost workers to standard output
        summary, code = execute.run_pipeline(where, name, nodes, found, spec=spec, force=force)
        if summary["nodes"]:
            execute.show(summary, home)
    return summary, code


def _nodes(spec: Path | None, only: str | None) -> tuple[str, list[Any]]:
    """Name and nodes of a spec; with `only`, that node and what it needs."""
    from labs.errors import BadInput, choices
    from pipelines.spec import COURSE, read_spec

    name, nodes = read_spec(spec or COURSE)
    if only is None:
        return name, nodes
    by_name = {node.name: node for node in nodes}
    if only not in by_name:
        raise BadInput(f"no node {only!r} in pipeline {name}: {choices(by_name, only)}")
    wanted = {only}
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.needs.values())
    return f"{name}-{only}", [node for node in nodes if node.name in wanted]


def _overrides(config: Path | None, assignments: list[str]) -> dict[str, Any]:
    """Config fields of a YAML file, then of `--set field=value`; values are read as YAML."""
    import yaml

    from labs.errors import BadInput

    fields: dict[str, Any] = {}
    if config is not None:
        if not config.is_file():
            raise BadInput(f"config file {config} does not exist")
        loaded = yaml.safe_load(config.read_text()) or {}
        if not isinstance(loaded, dict):
            raise BadInput(f"config file {config} must hold 'field: value' lines")
        fields.update(loaded)
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise BadInput(f"--set {assignment!r} must be field=value")
        fields[name] = _value(value)
    return fields


def _value(text: str) -> Any:
    """A value as YAML reads it, and 1e-3 as a number too, which YAML 1.1 takes for a word."""
    import yaml

    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)


def _about(lab: Any) -> dict[str, Any]:
    metric = {"name": lab.metric.name, "goal": lab.metric.goal, "thresholds": dict(lab.metric.thresholds)}
    about = {"name": lab.name, "number": lab.number, "title": lab.title, "metric": metric}
    return {**about, "presets": list(lab.presets), "sizes": list(lab.sizes)}


def _train_document(node: Any, summary: dict[str, Any], own: dict[str, Any] | None) -> dict[str, Any]:
    from pipelines.home import result

    document = {"lab": node.lab, "preset": node.preset, "size": node.size, "seed": node.seed}
    document["status"] = own["status"] if own else summary["status"]
    document["run_id"] = own["run_id"] if own else None
    document["metrics"] = result(Path(own["folder"])).get("metrics", {}) if own else {}
    document["seconds"] = own["seconds"] if own else summary["seconds"]
    return document


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, default=str))


def _print_table(table: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(table)


from pipelines import jobs_cli  # noqa: E402

jobs_cli.add_to(app)

if __name__ == "__main__":
    main()
