"""`labs train`, `pipeline run` and `pipeline plan`."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from labs.core.heading import MAX_SEED
from labs.core.text_file import read_text
from pipelines.commands.options import (
    TRAIN,
    Compile,
    CpusPerWorker,
    Data,
    Force,
    GpusPerWorker,
    Home,
    Json,
    LabName,
    Only,
    PrecisionOption,
    Preset,
    Retries,
    Set,
    Size,
    Spec,
    StoreUri,
    overrides,
    print_json,
    print_table,
)
from pipelines.commands.reporting import write_at_end
from pipelines.commands.specs import find_spec

INTERRUPTED = 130
"""Exit code of a command that was interrupted."""
pipeline_app = typer.Typer(
    help="Run or plan a pipeline: several labs, in the order of their needs.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    app.command(rich_help_panel=TRAIN)(train)
    app.add_typer(pipeline_app, name="pipeline", rich_help_panel=TRAIN)


def train(
    lab: LabName,
    preset: Preset = None,
    size: Size = "small",
    set_: Set = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of config fields; --set overrides it.")] = None,
    workers: Annotated[
        int, typer.Option(help="Number of Ray Train workers. 0 trains in this process, without Ray.")
    ] = 1,
    cpus_per_worker: CpusPerWorker = 1,
    gpus_per_worker: GpusPerWorker = None,
    batch_per_worker: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Samples of each batch for each worker: the learning rate grows with the global batch, after a "
            "warm-up. Default: the workers split the config's batch.",
        ),
    ] = None,
    precision: PrecisionOption = "auto",
    compile_: Compile = False,
    retries: Retries = 3,
    time_limit: Annotated[
        float | None,
        typer.Option(help="Seconds from the workers' start, after which the run is saved and counts as failed."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of all random numbers.")] = 0,
    data: Data = None,
    store: StoreUri = None,
    home: Home = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train one lab and the labs that it needs. The same command again continues."""
    import labs
    from pipelines.show.display import say
    from pipelines.spec import Node, default_needs, with_batch_per_worker
    from pipelines.spec_fields import Limits, NodeResources, from_options

    preset = labs.heading(lab).choose(preset, size)
    asked = {"workers": workers, "cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker,
             "precision": precision, "compile": compile_}  # fmt: skip
    resources = from_options(NodeResources, **asked)
    limits = from_options(Limits, retries=retries, time_limit=time_limit)
    fields = overrides(config, set_ or [])
    say(f"{lab}: reading the lesson")
    resolved = labs.get(lab).resolve(preset, size, fields)
    say(f"{lab} {preset} {size} seed {seed}: starting")
    node = Node(
        lab,
        lab,
        preset,
        size,
        resolved,
        seed,
        resources=resources,
        retries=limits.retries,
        time_limit=limits.time_limit,
        data=data and data.resolve(),
    )
    if batch_per_worker is not None:
        node = with_batch_per_worker(node, batch_per_worker)
    _, summary, code = _run(home, store, f"train-{lab}", default_needs(node), force=force)
    if as_json:
        own = next((row for row in summary["nodes"] if row["name"] == lab), None)
        print_json(_train_document(node, summary, own))
    raise typer.Exit(code)


@pipeline_app.command("run")
def pipeline_run(
    spec: Spec = None,
    only: Only = None,
    store: StoreUri = None,
    home: Home = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a pipeline. The same command again continues."""
    file = find_spec(spec)
    name, nodes = _nodes(file, only, "starting")
    folder, summary, code = _run(home, store, name, nodes, spec=read_text(file, "pipeline spec"), force=force)
    if folder is not None and code != INTERRUPTED:
        write_at_end(folder)
    if as_json:
        print_json(summary)
    raise typer.Exit(code)


@pipeline_app.command("plan")
def pipeline_plan(
    spec: Spec = None,
    only: Only = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Plan for a cluster of these nodes, such as '4x(8 GPU, 96 CPU) + 16x(32 CPU)'. "
            "Default: the cluster of RAY_ADDRESS, or this machine.",
            metavar="NODES",
        ),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what a pipeline would do: which nodes have finished already, what the others need, how long it takes."""
    from cluster.described import described

    asked = None if cluster is None else described(cluster)
    nodes = _nodes(find_spec(spec), only, "planning")[1]

    from pipelines.home import find_home
    from pipelines.pipeline import cluster_resources
    from pipelines.show.plan import plan_document

    document = plan_document(find_home(home), nodes, asked or cluster_resources())
    if as_json:
        print_json(document)
    else:
        _show_plan(document)
    if not document["fits"]:
        raise typer.Exit(2)


def _show_plan(document: dict[str, Any]) -> None:
    from pipelines.show.display import clock, rows_table, say
    from pipelines.show.plan import sentence

    for fault in document["faults"]:
        say(f"error: {fault}")
    if document["fits"]:
        rows = [{**node, "reused": "yes" if node["cached"] else "no", "time": clock(node["seconds"])}
                for node in document["nodes"]]  # fmt: skip
        columns = {"name": "node", "reused": "reused", "time": "time", "resources": "resources"}
        print_table(rows_table(rows, columns))
        say(sentence(document))


def _run(
    home: Path | None, store: str | None, name: str, nodes: list[Any], *, spec: str = "", force: bool
) -> tuple[Path | None, dict[str, Any], int]:
    """Run a pipeline and show its end: its folder, the document of `--json`, the exit code."""
    from pipelines.home import find_home
    from pipelines.pipeline import run_pipeline
    from pipelines.show.reporter import ScreenReporter
    from pipelines.show.summary import interrupted_document, pipeline_document, show_pipeline
    from pipelines.tracking.writer import Store

    where = find_home(home)
    found = Store(where, store)
    with redirect_stdout(sys.stderr):  # Ray prints what it has to say about lost workers to standard output
        folder, code = run_pipeline(where, name, nodes, found, ScreenReporter(), spec=spec, force=force)
        if folder is None:
            return None, interrupted_document(name), code
        summary = pipeline_document(folder, found)
        show_pipeline(summary, home)
    return folder, summary, code


def _nodes(spec: Path, only: list[str] | None, doing: str) -> tuple[str, list[Any]]:
    """Name and nodes of a spec; with `only`, those and what they need. `doing` is said before labs are imported."""
    from labs.core.errors import BadInput, choices
    from pipelines.show.display import say
    from pipelines.spec import read_spec

    say(f"pipeline {spec}: {doing}")
    name, nodes = read_spec(spec)
    if not only:
        return name, nodes
    by_name = {node.name: node for node in nodes}
    for asked in only:
        if asked not in by_name:
            raise BadInput(f"no node {asked!r} in pipeline {name}: {choices(by_name, asked)}")
    wanted = set(only)
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.needs.values())
    return "-".join([name, *dict.fromkeys(only)]), [node for node in nodes if node.name in wanted]


def _train_document(node: Any, summary: dict[str, Any], own: dict[str, Any] | None) -> dict[str, Any]:
    from pipelines.home import result

    document = {"lab": node.lab, "preset": node.preset, "size": node.size, "seed": node.seed}
    document["status"] = own["status"] if own else summary["status"]
    document["run_id"] = own["run_id"] if own else None
    document["metrics"] = result(Path(own["folder"])).get("metrics", {}) if own else {}
    document["seconds"] = own["seconds"] if own else summary["seconds"]
    return document
