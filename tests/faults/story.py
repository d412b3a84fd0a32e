"""Common to the fault tests: a run of a few seconds that is saved twice a second, and what must be true in the end."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from labs.core import events
from pipelines.tracking.writer import Store
from tests import saving
from tests.forked import LabsProcess

Start = Callable[..., LabsProcess]
WAIT_S = 240
SAVE_EVERY_S = 0.5
OFTEN = partial(saving.save_every, SAVE_EVERY_S)
"""What a process does first that saves so often."""
EPOCHS = 100
LONG = ("--set", f"epochs={EPOCHS}", "--set", f"patience={EPOCHS}")
TRAIN = ("train", "regression", "--preset", "strong", "--size", "tiny", "--json", *LONG)


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(("time/", "perf/"))}


def run_folder(home: Path) -> Path:
    return next((home / "runs").glob("*"))


def wait_for(what: Callable[[], object], process: LabsProcess) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def epochs_done(home: Path, run: str = "") -> int:
    return max(
        (event["step"] for folder in (home / "runs").glob(f"{run}*") for event in events.read(folder)), default=0
    )


def saved(home: Path) -> bool:
    return any((home / "runs").glob("*/checkpoints/step-*"))


def finish(process: LabsProcess) -> tuple[int, Any, str]:
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, json.loads(out) if out.strip() else None, err


def each_step_once(home: Path, run_id: str, uri: str | None = None) -> bool:
    points = Store(home, uri).client().get_metric_history(run_id, "val/mse")
    steps = [point.step for point in points]
    return steps == sorted(set(steps)) == list(range(1, len(steps) + 1))
