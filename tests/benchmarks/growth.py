"""How costs grow with the size of a pipeline, of a home and of a sweep, with jobs stood in for training.

A job that stands in writes three events and a result at once, in the thread that would wait for its workers, so what is
measured is this program's own work: CPU seconds of the driver with its threads. A sweep's trials are given out and
taken back by the sweep's own searcher, without Ray Tune around it.
"""

import argparse
import gc
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import linear_regression
from typing import Any, Literal
from unittest.mock import patch

import labs
from cluster import capacity
from labs.core import events
from pipelines import datasets
from pipelines.cli import main as labs_command
from pipelines.home import RESULT, write_record
from pipelines.job import Job
from pipelines.spec import Node, tuning_of
from pipelines.spec_fields import NodeResources, TuneSpec
from pipelines.tracking.writer import Store
from pipelines.tuning.sweep import Sweep
from tests.benchmarks.record import RESULTS, Figure, record

LAB, CLUSTER = "regression", capacity.Cluster({"stand-in": capacity.Resources(64)})
PLANNED_LABS = ("regression", "classification", "cnn", "gan")
EVENTS = 3
MIRRORED_TRIALS = 1000
"""More are not mirrored: that takes a minute for a thousand."""
Costs = dict[str, float]
"""What was done -> CPU seconds; those that end in `_wall` are seconds by the clock."""


def main() -> None:
    """Measure each size in turn, then print and record how costs grow from one size to the next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000], help="10000 takes ten minutes.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="File that the figures are appended to.")
    asked = parser.parse_args()
    figures = [
        *measured("nodes", pipeline_costs, asked.nodes),
        *measured("trials", sweep_costs, asked.trials),
        *measured("random trials", partial(sweep_costs, search="random"), asked.trials),
    ]
    record(figures, asked.results)


def measured(what: str, measure: Callable[[Path, int], Costs], sizes: list[int]) -> list[Figure]:
    """The costs of the largest size beside those of the size before, each with the exponent of its growth."""
    costs = {}
    for size in [2, *sizes] if sizes else []:  # the first one only imports what the others need
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            costs[size] = measure(Path(folder), size)
        print(size, what, json.dumps({name: round(value, 3) for name, value in costs[size].items()}), flush=True)
    by_size = {name: {size: costs[size][name] for size in sizes if name in costs[size]} for name in costs.get(2, ())}
    return [_figure(what, name, found) for name, found in by_size.items()]


def _figure(what: str, name: str, by_size: dict[int, float]) -> Figure:
    (before, reference), (size, value) = ([*by_size.items()] * 2)[-2:]
    beside = f"{before} {what}; grows as n^{exponent(by_size):.2f}"
    unit = "s" if name.endswith("_wall") else "CPU ms" if name.endswith("_ms") else "CPU s"
    return Figure(f"growth/{name}_{size}", unit, [value], [reference], beside)


def exponent(by_size: dict[int, float]) -> float:
    """Slope of log(cost) over log(size), by least squares over sizes from 100 on: small ones show what is fixed."""
    points = {size: cost for size, cost in by_size.items() if size >= 100 and cost > 0}
    if len(points) < 2:
        return math.nan
    return linear_regression([math.log(size) for size in points], [math.log(cost) for cost in points.values()]).slope


def pipeline_costs(folder: Path, nodes: int) -> Costs:
    """A pipeline of so many nodes, in a home of its own, from its plan to its second run."""
    home, costs, jobs = folder / "home", Costs(), StandIn()
    spec, mixed = folder / "many.yaml", folder / "mixed.yaml"
    spec.write_text(_spec([LAB], nodes))
    mixed.write_text(_spec(PLANNED_LABS, nodes))
    datasets.prepared(home, labs.get(LAB), "tiny", None)
    with patch("cluster.capacity.total", lambda: CLUSTER), patch("pipelines.execution.run_job", jobs.run):
        with timed(costs, "plan"):
            command(home, "pipeline", "plan", mixed)
        with timed(costs, "run"):
            jobs.begun = time.process_time(), time.monotonic()
            command(home, "pipeline", "run", spec)
        costs["start"], costs["start_wall"] = jobs.until_first
        costs["nodes"], costs["end"] = jobs.between, jobs.since_last()
        with timed(costs, "plan_cached"):
            command(home, "pipeline", "plan", spec)
        by_seed = ["compare", "--by", "seed"]
        for name, arguments in {"status": ["status"], "compare": ["compare"], "compare_by_seed": by_seed,
                                "report": ["report"], "sync": ["sync"]}.items():  # fmt: skip
            with timed(costs, name):
                command(home, *arguments)
        with timed(costs, "rerun"):
            command(home, "pipeline", "run", spec)
        with timed(costs, "compare_store"):
            command(home, "compare", "--store", f"sqlite:///{home}/mlflow.db")
    del costs["run"]
    return costs


def sweep_costs(folder: Path, trials: int, search: Literal["tpe", "random"] = "tpe") -> Costs:
    """A sweep of so many trials: the driver's own work, then the mirror's, whose costs are those of MLflow's calls."""
    from pipelines.tuning import conduct as conducting
    from pipelines.tuning import ray_tune

    home, costs, jobs = folder / "home", Costs(), StandIn()
    sweep = _sweep(home, trials, search)
    sweep.create_record()

    def run_trials(sweep: Sweep, study: Any, over: Any, tick: Any) -> None:
        searcher = ray_tune.StudySearcher(sweep, study)
        number = 0
        while isinstance(config := searcher.suggest(str(number)), dict):
            jobs.run(Job.model_validate(config["job"]))
            searcher.on_trial_complete(str(number))
            number += 1

    with (
        patch("pipelines.tuning.ray_tune.run_trials", run_trials),
        patch("pipelines.tuning.conduct._score", lambda sweep, best: None),
        timed(costs, "trials"),
    ):
        conducting.conduct(sweep, stopped=lambda: False, tick=lambda: None)
    if search == "random":
        return {"random_trial_ms": costs["trials"] / trials * 1000}
    costs["trial_ms"] = costs["trials"] / trials * 1000
    if trials > MIRRORED_TRIALS:
        return costs
    write_record(sweep.best().folder, serve=False)  # type: ignore[union-attr]  # it has no weights
    store = Store(home, None)
    with timed(costs, "mirror_trials"):
        store.sync_all()
    with timed(costs, "mirror_nothing"):
        store.sync_all()
    costs["mirror_trial_ms"] = costs["mirror_trials"] / trials * 1000
    return costs


class StandIn:
    """Stands in for training: writes what a run leaves, and notes when the first one begins and the last one ends."""

    def __init__(self) -> None:
        self.begun = time.process_time(), time.monotonic()
        self.first: tuple[float, float] | None = None
        self.last = 0.0

    def run(self, job: Job) -> str:
        """In place of `run_job`."""
        if self.first is None:
            self.first = time.process_time(), time.monotonic()
        metric = f"val/{labs.heading(job.lab).metric.name}"
        value = 1.0 + job.seed % 97 / 100 + sum(map(ord, job.folder.name)) % 89 / 100
        for step in range(1, EVENTS + 1):
            metrics = {metric: value / step, "train/loss": value / step, "time/epoch_s": 0.01}
            events.append(job.folder, {"time": time.time(), "step": step, "of": EVENTS, "metrics": metrics})
        write_record(job.folder, serve=False)  # it has no weights to serve
        ended = {"metrics": {metric: value, metric.replace("val", "test"): value}, "steps": EVENTS}
        events.write_text(job.folder / "config.json", "{}")  # without it, the mirror would wait for the end
        events.write_text(job.folder / RESULT, json.dumps(ended))
        self.last = time.process_time()
        return "FINISHED"

    @property
    def until_first(self) -> tuple[float, float]:
        """CPU seconds and seconds by the clock from the command to the first job's beginning."""
        assert self.first
        return self.first[0] - self.begun[0], self.first[1] - self.begun[1]

    @property
    def between(self) -> float:
        """CPU seconds from the first job's beginning to the last one's end."""
        assert self.first
        return self.last - self.first[0]

    def since_last(self) -> float:
        """CPU seconds since the last job's end."""
        return time.process_time() - self.last


@contextmanager
def timed(costs: Costs, name: str) -> Iterator[None]:
    """Note the CPU seconds of this process, all threads together."""
    gc.freeze()  # what earlier commands have left: a command of a user's is alone in its process
    start = time.process_time()
    yield
    costs[name] = time.process_time() - start


def command(home: Path, *arguments: object) -> None:
    """`labs ...` in this process."""
    said = StringIO()
    with (
        patch.object(sys, "argv", ["labs", *map(str, arguments), "--home", str(home)]),
        redirect_stdout(said),
        redirect_stderr(said),
    ):
        try:
            labs_command()
        except SystemExit as ended:
            if ended.code:
                raise RuntimeError(f"labs {' '.join(map(str, arguments))}: {said.getvalue()[-2000:]}") from None


def _spec(names: tuple[str, ...] | list[str], nodes: int) -> str:
    """A pipeline's file: so many nodes of these labs in turn, which differ in their seeds."""
    seeds = {name: list(range(nodes))[number :: len(names)] for number, name in enumerate(names)}
    lines = [
        f"  {name}: {{lab: {name}, size: tiny, resources: {{workers: 0}}, seeds: {numbers}}}"
        for name, numbers in seeds.items()
        if numbers
    ]
    return "\n".join(["name: many", "nodes:", *lines, ""])


def _sweep(home: Path, trials: int, search: Literal["tpe", "random"]) -> Sweep:
    """A sweep over the lab's own space."""
    lab = labs.get(LAB)
    node = Node(LAB, LAB, "simple", "tiny", lab.resolve("simple", "tiny"), resources=NodeResources(workers=1))
    tuning = tuning_of(TuneSpec(trials=trials, search=search), lab, "simple", "tiny", {})
    return Sweep(home, node, tuning, CLUSTER, datasets.prepared(home, lab, "tiny", None), {})


if __name__ == "__main__":
    main()
