"""`make bench`: what a lab costs beyond its own arithmetic, beside a stock Ray Train script and beside the bare loop.

Every measurement is a process of its own, in the environment of a fresh shell, one after the other; README.md says
what the figures mean.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from labs.core import events, shards
from labs.regression import lesson as regression
from pipelines import datasets
from pipelines.home import read_record, records
from tests.benchmarks.record import Figure, record

ROOT = Path(__file__).parents[2]
LIMIT_S = 600.0
"""Longest that one process may take."""
END_S = 15.0
"""Longest that Ray's processes may outlive the one that started them."""
JOB = ("regression", "tiny")
"""Lab and size of the job that the stock script does too: little arithmetic, so that it hides nothing."""
EPOCHS, PASSES = 8, 20
SETTLED = 2
"""Epochs before what they cost is counted: Ray Train takes the first report at once and polls from then on."""
SPEED = ("cnn", "small")
"""Lab and size whose samples per second are counted: enough arithmetic to fill a core."""
SPEED_EPOCHS = 4
NOT_FRESH = ("RAY_", "LABS_", "MLFLOW_", "OMP_", "MKL_", "PYTHONDONTWRITEBYTECODE")
screen = Console(stderr=True)


@dataclass(frozen=True)
class Timed:
    """When things happened in one process, in Unix seconds."""

    called: float
    """The command was started."""
    ready: float
    """Ray was up and the training was asked for."""
    ended: float
    """The command had ended."""
    epochs: list[tuple[float, float]]
    """Start and end of each epoch's body: training and validation, without what is done about their result."""

    @property
    def start(self) -> float:
        """Seconds from the command to the start of the first epoch, whose first step follows at once."""
        return self.epochs[0][0] - self.called

    @property
    def start_ray_up(self) -> float:
        """The same from when Ray was up."""
        return self.epochs[0][0] - self.ready

    @property
    def total(self) -> float:
        """Seconds of the whole command."""
        return self.ended - self.called

    @property
    def after_epochs(self) -> list[float]:
        """Seconds between the end of an epoch's body and the start of the next one's."""
        return [start - end for (_, end), (start, _) in pairwise(self.epochs)]


def main() -> None:
    """Measure, print a table, append to `results.jsonl`."""
    repeats = asked_repeats("overhead", __doc__, 3)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder))
        try:
            bench.prepare()
            figures = [*job_figures(bench, repeats), *speed_figures(bench, repeats)]
        except Failed as error:
            screen.print(f"error: {error}", markup=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
    record(figures)


def asked_repeats(module: str, description: str | None, default: int) -> int:
    """The command line of a benchmark: how often everything is measured."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.{module}", description=description)
    parser.add_argument(
        "--repeats", type=int, default=default, help=f"how often everything is measured (default {default})"
    )
    repeats: int = parser.parse_args().repeats
    if repeats < 1:
        parser.error("argument --repeats: at least 1 is right")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that everything is cleaned up
    return repeats


def job_figures(bench: "Bench", repeats: int) -> list[Figure]:
    """Start, epochs and the whole of a job: this program with few and with many checkpoints, and the stock script."""
    stock, few, many = [], [], []
    for number in range(1, repeats + 1):
        stock.append(bench.stock(f"{number}/{repeats} stock TorchTrainer script"))
        few.append(bench.lab(f"{number}/{repeats} labs train {JOB[0]}"))
        many.append(bench.lab(f"{number}/{repeats} the same, a checkpoint each epoch", "tests.saving", "0"))
    called, ready = "stock script, from its command", "stock script, from fit()"
    half = EPOCHS // 2  # of the stock script's epochs, the first half has checkpoints
    with_checkpoint = flat(timed.after_epochs[SETTLED:half] for timed in stock)
    without = flat(timed.after_epochs[half:] for timed in stock)
    reports = flat(timed.after_epochs[SETTLED:] for timed in few)
    saves = flat(timed.after_epochs[SETTLED:] for timed in many)
    return [
        Figure("start/first_step_s", "s", [t.start for t in few], [t.start for t in stock], called),
        Figure("start/first_step_ray_up_s", "s", [t.start_ray_up for t in few], [t.start_ray_up for t in stock], ready),
        Figure("epoch/report_s", "s", reports, without, "report(metrics)"),
        Figure("epoch/report_checkpoint_s", "s", saves, with_checkpoint, "report(metrics, checkpoint)"),
        Figure("job/total_s", "s", [t.total for t in few], [t.total for t in stock], "stock script, whole command"),
    ]


def speed_figures(bench: "Bench", repeats: int) -> list[Figure]:
    """Samples/s of one Ray Train worker and of the bare loop, one thread each, measured in turn."""
    ours, bare = [], []
    for number in range(1, repeats + 1):
        bare.append(bench.speed(f"{number}/{repeats} {SPEED[0]} bare", workers=0))
        ours.append(bench.speed(f"{number}/{repeats} {SPEED[0]} on a Ray Train worker", workers=1))
    return [Figure("worker/samples_per_s", "samples/s", ours, bare, f"bare loop, {SPEED[0]} {SPEED[1]}")]


class Failed(Exception):
    """A measured process failed or took too long; the message has the end of what it said."""


class Bench:
    """Runs the measured processes, with all that they write below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.count = folder, folder / "home", 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FRESH)}
        # Where Ray and others put temporary files; the only thing that differs from a fresh shell.
        self.environment = {**kept, "TMPDIR": str(folder), "RAY_TMPDIR": str(folder)}

    def prepare(self) -> None:
        """Data, the MLflow store, compiled bytecode and warm file caches: what stands from the second run on."""
        for job in (JOB, SPEED):
            self.train(f"warming up: lab {job[0]}", job, {"epochs": 1}, workers=0)
        self.write_rows()
        self.stock("warming up: stock TorchTrainer script", epochs=2)

    def write_rows(self) -> None:
        """The lab's training and validation rows, as a file that needs nothing of this program."""
        data = datasets.location(self.home, regression.LAB, JOB[1], None)
        columns = shards.ArrowDataset(data, "train", ("inputs", "target")).columns
        inputs, target = (column.all() for column in columns)
        config = regression.RegressionConfig.model_validate({})  # of size and preset, nothing changes the rows
        fitting, held_out = regression.split(inputs, target, shards.manifest(data)["facts"], config, seed=0)
        fits, validates = fitting[:, 0], held_out[:, 0]
        np.savez(
            self.folder / "rows.npz",
            training_inputs=inputs[fits].numpy(),
            training_target=target[fits].numpy(),
            inputs=inputs[validates].numpy(),
            target=target[validates].numpy(),
        )

    def stock(self, what: str, epochs: int = EPOCHS) -> Timed:
        """Run the stock script on the rows that the lab trains on."""
        out = self.folder / f"stock-{self.count}"
        script, rows = Path(__file__).with_name("stock.py"), self.folder / "rows.npz"
        called, ended = self.run(what, str(script), str(rows), str(out), str(epochs), str(PASSES))
        noted = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
        times = json.loads((out / "times.json").read_text())
        return checked(Timed(called, times["fit_called"], ended, [(start, end) for start, end in noted]), epochs)

    def lab(self, what: str, *program: str) -> Timed:
        """Train the lab on one Ray Train worker."""
        settings = {"epochs": EPOCHS, "passes": PASSES, "patience": EPOCHS}
        folder, called, ended = self.train(what, JOB, settings, *program, workers=1)
        # The pipeline's record has when its graph started: Ray was connected then, and everything planned.
        pipeline = read_record(Path(read_record(folder)["parent"]))
        return checked(Timed(called, pipeline["started"], ended, [body(event) for event in epochs_of(folder)]), EPOCHS)

    def speed(self, what: str, *, workers: int) -> float:
        """Samples/s of a lab: median over the epochs."""
        folder, _, _ = self.train(what, SPEED, {"epochs": SPEED_EPOCHS}, workers=workers)
        return float(median(event["metrics"]["perf/samples_per_s"] for event in epochs_of(folder)))

    def train(
        self, what: str, job: tuple[str, str], settings: dict[str, int], *program: str, workers: int
    ) -> tuple[Path, float, float]:
        """`labs train`, on CPUs; returns the run's folder, and when the command started and ended.

        `program` is the module that stands in for `labs`, with arguments of its own.
        """
        lab, size = job
        fields = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        where = ["--home", str(self.home), "--workers", str(workers), "--gpus-per-worker", "0", "--force"]
        command = ["-m", *(program or ("pipelines.cli",)), "train", lab, "--preset", "simple", "--size", size]
        called, ended = self.run(what, *command, *where, *fields)
        return list(records(self.home, "runs"))[-1][0], called, ended

    def run(self, what: str, *arguments: str, limit_s: float = LIMIT_S) -> tuple[float, float]:
        """Run Python with these arguments to its end; returns when that started and ended.

        Raises:
            Failed: it ended with an error or not within the limit.
        """
        self.count += 1
        log = self.folder / f"log-{self.count}.txt"
        with log.open("w") as file:
            code: int | str
            start = time.time()
            process = psutil.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=self.environment, stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                code = process.wait(timeout=limit_s)
                ended = time.time()
            except psutil.TimeoutExpired:
                code = f"no end within {limit_s:g} s"
            finally:
                end_all([process, *children(process)], wait_s=0)
                end_all(self.left_over(), wait_s=END_S)
        if code != 0:
            raise Failed(f"{what}: {code}\n{log.read_text()[-3000:]}")
        screen.print(f"{what}: {ended - start:.1f} s", markup=False)
        return start, ended

    def left_over(self) -> list[psutil.Process]:
        """Processes that still carry this benchmark's folder in their environment or command."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.pid != os.getpid() and (
                    process.environ().get("RAY_TMPDIR") == str(self.folder)
                    or any(str(self.folder) in part for part in process.cmdline())
                ):
                    found.append(process)
        return found


def children(process: psutil.Process) -> list[psutil.Process]:
    """Processes that this one and those started; none when it has ended."""
    with suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def end_all(processes: list[psutil.Process], *, wait_s: float) -> None:
    """Give the processes some time to end by themselves, then kill those that have not."""
    _, alive = psutil.wait_procs(processes, timeout=wait_s)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=END_S)


def flat(lists: Iterable[list[float]]) -> list[float]:
    """All values of several lists."""
    return [value for values in lists for value in values]


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    """A run's events, without the last one, which has the final score."""
    return [event for event in events.read(folder) if "time/epoch_s" in event["metrics"]]


def body(event: dict[str, Any]) -> tuple[float, float]:
    """Start and end of an epoch's body: its event is made as it ends, and has its seconds."""
    return event["time"] - event["metrics"]["time/epoch_s"], event["time"]


def checked(timed: Timed, epochs: int) -> Timed:
    """What was timed, after making sure that all epochs were."""
    if len(timed.epochs) != epochs:
        raise Failed(f"{len(timed.epochs)} epochs were noted where {epochs} were trained")
    return timed


if __name__ == "__main__":
    main()
