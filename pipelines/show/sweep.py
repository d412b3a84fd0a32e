"""What people and machines see of a sweep: the live view, the end on the screen, the document of `--json`."""

import sys
import time
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

import labs
from pipelines.home import read_record, result
from pipelines.show.display import LINE_EVERY_S, cell, clock, number, say, screen, state_of
from pipelines.tracking.writer import Store, run_id
from pipelines.tuning.best_config import train_command
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trial import ENDED, SweepTrial


class SweepProgress:
    """Shows a sweep's folder while entered: a live table on a terminal, else a line now and then."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.trials, self.seconds = sweep, sweep.tuning.trials, sweep.tuning.seconds
        self.live = Live(console=screen, refresh_per_second=2, transient=True) if screen.is_terminal else None
        self.start = self.last = time.time()
        self.ended: dict[int, tuple[str, float | None]] = {}
        self.ended_before = sum(trial.state() in ENDED for trial in sweep.trials())

    def __enter__(self) -> "SweepProgress":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self.live:
            self.live.stop()

    def tick(self) -> None:
        """Read the folder and show it: twice a second on a terminal, else every half a minute."""
        now = time.time()
        if now - self.last < (0.5 if self.live else LINE_EVERY_S):
            return
        self.last = now
        running = self._read_trials()
        if self.live:
            self.live.update(self._table(running))
        else:
            print(f"{time.strftime('%H:%M:%S')}  {self._line(running)}", file=sys.stderr, flush=True)

    def _read_trials(self) -> list[SweepTrial]:
        """Note the trials that have ended since; return those that run."""
        running = []
        for trial in self.sweep.trials(known=self.ended):
            state = trial.state()
            if state in ENDED:
                self.ended[trial.number] = (trial.outcome(), trial.value() if state == "FINISHED" else None)
            elif state == "RUNNING":
                running.append(trial)
        return running

    def _line(self, running: list[SweepTrial]) -> str:
        states = [state for state, _ in self.ended.values()]
        counts = ", ".join(f"{states.count(state)} {state.lower()}" for state in sorted(set(states)))
        return (
            f"{self.sweep.folder.name}: {len(self.ended)} of {self.trials} trials ({counts or 'none ended'}), "
            f"{len(running)} running, best {self._best()}, {self._time_left()} left"
        )

    def _best(self) -> str:
        best = None
        metric = self.sweep.lab.metric
        for trial, (_, value) in self.ended.items():
            if value is not None and metric.better(value, best[1] if best else None):
                best = (trial, value)
        return f"val/{metric.name} {number(best[1])} (trial {best[0]})" if best else "-"

    def _time_left(self) -> str:
        """Until the last trial, at the pace so far, or until the sweep's time is over, whichever comes first."""
        spent, done = time.time() - self.start, len(self.ended) - self.ended_before
        estimates = []
        if done:
            estimates.append(spent / done * (self.trials - len(self.ended)))
        if self.seconds is not None:
            estimates.append(self.seconds - spent)
        return clock(max(0.0, min(estimates))) if estimates else "-"

    def _table(self, running: list[SweepTrial]) -> Table:
        table = Table(box=None, pad_edge=False, title=self._line(running), title_justify="left")
        for column in ("trial", "progress", "metric", "time left", "config"):
            table.add_column(column)
        for trial in running:
            record = trial.record()
            now = state_of({"folder": str(trial.folder), "lab": record["lab"], "status": "RUNNING"})
            table.add_row(str(trial.number), now["progress"], now["metric"], now["left"], cell(record["overrides"]))
        return table


def sweep_document(sweep: Sweep, store: Store) -> dict[str, Any]:
    """What `labs tune --json` prints."""
    record = read_record(sweep.folder)
    trials = list(sweep.trials())
    rows = [_row(trial, store) for trial in trials]
    best = [_best(sweep, trial, row) for trial, row in zip(trials, rows, strict=True) if trial.record().get("alias")]
    return {
        "lab": record["lab"],
        "run_id": run_id(sweep.folder, store),
        "status": record["status"],
        "best": best[-1] if best else None,
        "front": record.get("front", []),
        "trials": rows,
        "seconds": record["seconds"],
        "folder": str(sweep.folder),
    }


def interrupted_sweep(lab: str) -> dict[str, Any]:
    """The same for a sweep that was interrupted before its data were prepared: it has no folder yet."""
    return {"lab": lab, "run_id": None, "status": "KILLED", "best": None, "front": [], "trials": [], "seconds": 0.0,
            "folder": None}  # fmt: skip


def show_sweep(document: dict[str, Any], home: Path | None) -> None:
    """Say how the sweep ended, its errors, its best config, and what to type next.

    Args:
        document: of `sweep_document`.
        home: what the user gave as `--home`, to be repeated in what to type next.
    """
    states = [row["status"] for row in document["trials"]]
    counts = ", ".join(f"{states.count(state)} {state.lower()}" for state in sorted(set(states))) or "no trial"
    name, where = Path(document["folder"]).name, f" --home {home}" if home else ""
    say(f"sweep {name}: {document['status']} in {clock(document['seconds'])} ({counts})")
    for row in document["trials"]:
        if row["error"]:
            say(f"trial {row['number']}: {row['error']} (in {document['folder']}/trials/{row['number']})", style="red")
    if best := document["best"]:
        scores = "  ".join(f"{name} {number(value)}" for name, value in best["metrics"].items())
        metric = f"val/{labs.heading(document['lab']).metric.name}"
        say(f"best: trial {best['number']} with {metric} {number(best['value'])}  {scores}")
        say(f"      {cell(best['config'])}")
        for row in (row for row in document["trials"] if row["number"] in document["front"]):
            say(f"front: trial {row['number']} with {cell(row['values'])} (files/front-{row['number']}.yaml)")
        say(f"next: {best['train']}{where}")
        say(f"      labs ui{where}")
    if document["status"] != "FINISHED":
        nothing = not document["trials"]
        say(
            "next: nothing was tried yet; the same command starts it"
            if nothing
            else "next: the same command again continues where this one ended"
        )


def _row(trial: SweepTrial, store: Store) -> dict[str, Any]:
    record, state = trial.record(), trial.state()
    return {
        "number": trial.number,
        "status": trial.outcome(),
        "value": trial.value() if state == "FINISHED" else None,
        "seconds": record["seconds"],
        "values": trial.values(),
        "config": record["overrides"],
        "error": record["error"],
        "run_id": run_id(trial.folder, store),
    }


def _best(sweep: Sweep, trial: SweepTrial, row: dict[str, Any]) -> dict[str, Any]:
    metrics = result(trial.folder)["metrics"]
    return {
        **{key: row[key] for key in ("value", "config", "run_id", "number")},
        "metrics": {name: value for name, value in metrics.items() if name.startswith("test/")},
        "train": train_command(sweep, sweep.folder / "best.yaml"),
    }
