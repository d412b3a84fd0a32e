"""`make bench`: what a trial of a sweep costs beyond its own arithmetic, beside the other ways to run one.

Every sweep is a process of its own, one after the other, with trials one at a time unless a figure says otherwise;
README.md says what the figures mean.
"""

import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml
from rich.console import Console

from labs.core import events
from pipelines.home import read_record, records
from tests.benchmarks.overhead import END_S, JOB, Bench, Failed, asked_repeats
from tests.benchmarks.record import Figure, record
from tests.benchmarks.stock_tuning import HIGH, LOW

SCRIPT = Path(__file__).with_name("stock_tuning.py")
SETTLED = 2
"""Trials before what one costs is counted: their processes have to start."""
EPOCHS, SHORT, LONG = 6, 20, 900
"""Epochs of a trial, and passes of an epoch: those of size tiny, and so many that a trial takes some five seconds."""
MANY = 200
screen = Console(stderr=True)


def main() -> None:
    """Measure, print a table, append to `results.jsonl`."""
    repeats = asked_repeats("tuning", __doc__, 1)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        bench = Sweeps(Path(folder))
        try:
            bench.prepare()
            record(trial_figures(bench, repeats))
            record(scheduler_figures(bench, repeats))
            record(many_figures(bench))
        except Failed as error:
            screen.print(f"error: {error}", markup=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)


def trial_figures(bench: "Sweeps", repeats: int) -> list[Figure]:
    """Seconds of a short trial by five ways, of a long one by two, and trials a minute on all cores."""
    short: dict[str, list[float]] = {kind: [] for kind in ("ours", "optuna", "function", "train", "train-fast")}
    long: dict[str, list[float]] = {"ours": [], "optuna": []}
    two: list[float] = []
    for _ in range(repeats):
        short["optuna"] += bench.reference("optuna", 12, SHORT)
        short["ours"] += bench.ours(12, SHORT, "--concurrent", "1")
        two.append(60 / median(bench.ours(24, SHORT)))
        short["function"] += bench.reference("function", 6, SHORT)
        short["train-fast"] += bench.reference("train", 5, SHORT, RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.05")
        short["train"] += bench.reference("train", 5, SHORT)
        long["optuna"] += bench.reference("optuna", 6, LONG)
        long["ours"] += bench.ours(6, LONG, "--concurrent", "1")
    beyond = [value - median(short["optuna"]) for value in short["ours"]]
    return [
        Figure("tune/beyond_training_s", "s", beyond, short["optuna"], "a trial of the plain Optuna loop"),
        Figure("tune/trial_s_optuna", "s", short["ours"], short["optuna"], "plain Optuna loop, one process"),
        Figure("tune/trial_s_function", "s", short["ours"], short["function"], "function trainable, as taught"),
        Figure("tune/trial_s_train", "s", short["ours"], short["train"], "TorchTrainer in each trial, as taught"),
        Figure("tune/trial_s_train_fast", "s", short["ours"], short["train-fast"], "the same, looking every 0.05 s"),
        Figure("tune/long_trial_s", "s", long["ours"], long["optuna"], "plain Optuna loop, trials of some 5 s"),
        Figure("tune/trials_per_min", "1/min", two, [60 / s for s in short["optuna"]], "plain Optuna loop"),
    ]


def scheduler_figures(bench: "Sweeps", repeats: int) -> list[Figure]:
    """The same 24 trials at size small with and without early stopping: seconds, and the best value."""
    seconds: dict[str, list[float]] = {"asha": [], "none": []}
    best: dict[str, list[float]] = {"asha": [], "none": []}
    for number in range(repeats):
        for scheduler in seconds:
            folder = bench.sweep(
                f"24 trials of size small, scheduler {scheduler}",
                *("--preset", "strong", "--size", "small", "--trials", "24", "--search", "random"),
                *("--scheduler", scheduler, "--seed", str(number)),
            )
            seconds[scheduler].append(read_record(folder)["seconds"])
            best[scheduler].append(json.loads((folder / "result.json").read_text())["metrics"]["best/value"])
    return [
        Figure("tune/asha_s", "s", seconds["asha"], seconds["none"], "the same trials, none stopped"),
        Figure("tune/asha_best_mse", "squared %", best["asha"], best["none"], "the same trials, none stopped"),
    ]


def many_figures(bench: "Sweeps") -> list[Figure]:
    """A sweep of 200 trials: memory of its processes at the end beside the start, and what it leaves behind."""
    folder = bench.sweep(f"{MANY} trials", *options(SHORT), "--trials", str(MANY))
    found = sorted((read_record(path.parent)["started"], path.parent) for path in folder.glob("trials/*/record.json"))
    memory = [events.read(path / "system")[-1]["metrics"]["system/process_memory_megabytes"] for _, path in found]
    left = [*bench.folder.glob("ray/session_*/artifacts/*/tune-*"), *folder.glob("tune")]
    if bench.outlived or left:
        raise Failed(f"{MANY} trials left behind: {[p.name() for p in bench.outlived]} {[str(path) for path in left]}")
    return [Figure("tune/memory_after_200_mb", "MB", memory[-10:], memory[5:15], "after ten trials")]


class Sweeps(Bench):
    """Runs the sweeps, with all that they write below one folder."""

    outlived: list[Any]
    """Processes that were still there when the last command had ended."""

    def prepare(self) -> None:
        """Data, the MLflow store and warm file caches."""
        self.train(f"warming up: lab {JOB[0]}", JOB, {"epochs": 1}, workers=0)
        self.write_rows()
        self.space = self.folder / "space.yaml"
        self.space.write_text(yaml.safe_dump({"lr": {"type": "loguniform", "low": LOW, "high": HIGH}}))
        self.ours(3, SHORT)
        self.reference("function", 2, SHORT)

    def ours(self, trials: int, passes: int, *more: str) -> list[float]:
        """Seconds from a trial's end to the next one's, of `labs tune`."""
        folder = self.sweep(
            f"labs tune, {trials} trials of {passes} passes {' '.join(more)}",
            *options(passes), "--space", str(self.space), "--trials", str(trials), "--seed", str(self.count), *more,
        )  # fmt: skip
        ends = sorted(read_record(path.parent)["ended"] for path in folder.glob("trials/*/record.json"))
        return between(ends)

    def reference(self, kind: str, trials: int, passes: int, **environment: str) -> list[float]:
        """The same of a reference."""
        out = self.folder / f"{kind}-{self.count}"
        before, self.environment = self.environment, {**self.environment, **environment}
        arguments = (kind, str(self.folder / "rows.npz"), str(out), str(trials), str(EPOCHS), str(passes))
        try:
            self.run(f"{kind}, {trials} trials of {passes} passes {environment or ''}", str(SCRIPT), *arguments)
        finally:
            self.environment = before
        return between([float(line) for line in out.read_text().splitlines()])

    def sweep(self, what: str, *arguments: str) -> Path:
        """Run `labs tune regression`, on CPUs, as a sweep of its own; returns its folder."""
        where = ["--home", str(self.home), "--gpus-per-worker", "0"]
        known = {path for path, _ in records(self.home, "sweeps")}
        self.run(what, "-m", "pipelines.cli", "tune", JOB[0], *arguments, *where)
        (folder,) = {path for path, _ in records(self.home, "sweeps")} - known
        return folder

    def left_over(self) -> list[Any]:
        """Processes that outlive their command for long; noted, then ended."""
        _, self.outlived = psutil.wait_procs(super().left_over(), timeout=END_S)
        return self.outlived


def options(passes: int) -> list[str]:
    """What makes a trial of ours the same work as one of a reference."""
    fixed = ["--fix", f"passes={passes}", "--fix", f"epochs={EPOCHS}", "--fix", f"patience={EPOCHS}"]
    return ["--preset", "simple", "--size", "tiny", "--search", "random", "--scheduler", "none", *fixed]


def between(ends: list[float]) -> list[float]:
    """Seconds between the trials' ends, without the first ones."""
    return [after - before for before, after in pairwise(ends[SETTLED - 1 :])]


if __name__ == "__main__":
    main()
