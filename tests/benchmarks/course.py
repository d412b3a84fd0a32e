"""`make bench ONLY=course`: the course in a fresh home, and where its core-seconds went, node by node.

`--home HOME` takes the newest finished pipeline of that home instead of running one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from labs.core import events
from pipelines.datasets import PREPARATION
from pipelines.home import read_record, records
from pipelines.show.schedule import schedule
from tests.benchmarks.record import Figure, record

EPOCH = "time/epoch_s"
BEFORE = {"launch": 378.0, "epochs": 912.0, "after": 173.0}
"""Core-seconds of the sixteen nodes on 2 idle cores on 2026-11-25, when each node launched workers of its own."""
LIMIT_S = 3600


@dataclass(frozen=True)
class CoreSeconds:
    """Where a node's seconds went, each times the CPUs that it held."""

    launch: float = 0.0
    """Until the first epoch: workers, where none of its shape were idle, reading the data, building the model."""
    epochs: float = 0.0
    between: float = 0.0
    """Events, checkpoints and whatever else the lab does between epochs."""
    after: float = 0.0
    """After the last epoch: deliverables and their score."""

    def __add__(self, other: "CoreSeconds") -> "CoreSeconds":
        return CoreSeconds(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def main() -> None:
    """Run the course, or take one that was run; print the table and append the sums to `results.jsonl`."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.course", description=__doc__)
    parser.add_argument("--home", type=Path, help="Home folder of a finished pipeline.")
    home = parser.parse_args().home
    if home is not None:
        return report(home, first_step_s=None)
    with tempfile.TemporaryDirectory() as fresh:
        start = time.time()
        command = [sys.executable, "-m", "pipelines.cli", "pipeline", "run", "--home", fresh]
        subprocess.run(command, check=True, timeout=LIMIT_S)
        report(Path(fresh), first_step_s=lambda first_epoch: first_epoch - start)


def report(home: Path, first_step_s: Callable[[float], float] | None) -> None:
    """Print and record a home's newest pipeline; `first_step_s` turns the first epoch's Unix time into seconds."""
    pipeline = [found for _, found in records(home, "pipelines") if found["status"] == "FINISHED"][-1]
    nodes = {name: node for name, node in pipeline["nodes"].items() if not node["reused"]}
    table = {name: core_seconds(Path(node["folder"]), node["cpus"]) for name, node in nodes.items()}
    Console(width=100).print(drawn(table))
    whole, used = sum(table.values(), CoreSeconds()), schedule(pipeline)
    assert used, "a pipeline of one node"
    figures = [
        Figure("course/seconds", "s", [pipeline["seconds"]], [used["bound_s"]], "what no schedule of this work beats")
    ]
    figures += [
        Figure(f"course/{part}_core_s", "core s", [getattr(whole, part)], [before], "2026-11-25, 2 idle cores")
        for part, before in BEFORE.items()
    ]
    if first_step_s:
        first = min(start for node in nodes.values() for start, _ in epochs(Path(node["folder"])))
        made = sum(read_seconds(file) for file in home.glob(f"data/*/*/{PREPARATION}"))
        figures.append(Figure("course/first_step_s", "s", [first_step_s(first)], [made], "making all data on one core"))
    record(figures)


def core_seconds(folder: Path, cpus: float) -> CoreSeconds:
    """Where the seconds of a run went that one command has begun and ended."""
    found, run = list(epochs(folder)), read_record(folder)
    begun, ended = run["started"], run["started"] + run["seconds"]
    first, last = found[0][0], found[-1][1]
    within = sum(end - start for start, end in found)
    parts = (first - begun, within, last - first - within, ended - last)
    return CoreSeconds(*(cpus * seconds for seconds in parts))


def epochs(folder: Path) -> Iterator[tuple[float, float]]:
    """Unix times of each epoch's start and end."""
    for event in events.read(folder):
        if EPOCH in event["metrics"]:
            yield event["time"] - event["metrics"][EPOCH], event["time"]


def read_seconds(file: Path) -> float:
    """How long a data set took to prepare."""
    return float(json.loads(file.read_text())["seconds"])


def drawn(table: dict[str, CoreSeconds]) -> Table:
    """One row for each node, and the sums."""
    made = Table(box=box.SIMPLE_HEAD, title="core-seconds", title_justify="left")
    names = [field.name for field in fields(CoreSeconds)]
    for column in ("node", *names, "all"):
        made.add_column(column, justify="left" if column == "node" else "right")
    for name, row in {**table, "sum": sum(table.values(), CoreSeconds())}.items():
        made.add_row(name, *(f"{value:,.1f}" for value in (*astuple(row), sum(astuple(row)))))
    return made


if __name__ == "__main__":
    main()
