"""What a person or a machine is told about a sweep: the live view, the best config, the figures, the document."""

import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.live import Live
from rich.table import Table

from labs.core import events
from pipelines.home import read_record, result
from pipelines.show.display import LINE_EVERY_S, cell, clock, number, say, screen, state_of
from pipelines.tracking.writer import Store, run_id
from pipelines.tuning.sweep import Sweep
from pipelines.tuning.trial import State, Trial

if TYPE_CHECKING:
    from optuna import Study


class SweepProgress:
    """Shows a sweep's folder while entered: a live table on a terminal, else a line now and then."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.trials, self.seconds = sweep, sweep.tuning.trials, sweep.tuning.seconds
        self.live = Live(console=screen, refresh_per_second=2, transient=True) if screen.is_terminal else None
        self.start = self.last = time.time()
        self.ended: dict[int, tuple[State, float | None]] = {}
        self.before = sum(found.state in ("FINISHED", "PRUNED", "FAILED") for found in sweep.trials())

    def __enter__(self) -> "SweepProgress":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self.live:
            self.live.stop()

    def tick(self) -> None:
        """Read the folder and show it: twice a second on a terminal, where something ended or after a while else."""
        now = time.time()
        if now - self.last < (0.5 if self.live else LINE_EVERY_S):
            return
        self.last = now
        running = self._look()
        if self.live:
            self.live.update(self._table(running))
        else:
            print(f"{time.strftime('%H:%M:%S')}  {self._line(running)}", file=sys.stderr, flush=True)

    def _look(self) -> list[Trial]:
        """Note the trials that have ended since; those that run are returned."""
        running = []
        for found in self.sweep.trials():
            if found.number not in self.ended:
                state = found.state
                if state in ("FINISHED", "PRUNED", "FAILED"):
                    self.ended[found.number] = (state, found.value if state == "FINISHED" else None)
                elif state == "RUNNING":
                    running.append(found)
        return running

    def _line(self, running: list[Trial]) -> str:
        states = [state for state, _ in self.ended.values()]
        counts = ", ".join(f"{states.count(s)} {s.lower()}" for s in ("FINISHED", "PRUNED", "FAILED") if s in states)
        return (
            f"{self.sweep.folder.name}: {len(self.ended)} of {self.trials} trials ({counts or 'none ended'}), "
            f"{len(running)} running, best {self._best()}, {self._left()} left"
        )

    def _best(self) -> str:
        best = None
        metric = self.sweep.lab.metric
        for trial, (_, value) in self.ended.items():
            if value is not None and metric.better(value, best[1] if best else None):
                best = (trial, value)
        return f"val/{metric.name} {number(best[1])} (trial {best[0]})" if best else "-"

    def _left(self) -> str:
        now = time.time() - self.start
        done = len(self.ended) - self.before
        by_trials = now / done * (self.trials - len(self.ended)) if done else None
        left = [left for left in (by_trials, None if self.seconds is None else self.seconds - now) if left is not None]
        return clock(max(0.0, min(left))) if left else "-"

    def _table(self, running: list[Trial]) -> Table:
        table = Table(box=None, pad_edge=False, title=self._line(running), title_justify="left")
        for column in ("trial", "progress", "metric", "time left", "config"):
            table.add_column(column)
        for found in running:
            record = found.record
            now = state_of({"folder": str(found.folder), "lab": record["lab"], "status": "RUNNING"})
            table.add_row(str(found.number), now["progress"], now["metric"], now["left"], cell(record["overrides"]))
        return table


def write_config(found: Trial, file: Path) -> None:
    """Write the fields of a trial as YAML, as `labs train --config` takes them."""
    values = ", ".join(f"val/{name} {value}" for name, value in found.values.items())
    head = f"# {values} in trial {found.number}\n# {train_command(found.sweep, file)}\n"
    file.parent.mkdir(exist_ok=True)
    events.write_text(file, head + yaml.safe_dump(found.record["overrides"], sort_keys=False))


def train_command(sweep: Sweep, file: Path) -> str:
    """The command that trains with the config that the sweep wrote to a file."""
    node = sweep.node
    given = f" --data {node.data}" if node.data else ""
    seed = f" --seed {node.seed}" if node.seed else ""
    return f"labs train {node.lab} --preset {node.preset} --size {node.size}{seed}{given} --config {file}"


def document(sweep: Sweep, store: Store) -> dict[str, Any]:
    """What `labs tune --json` prints."""
    record = read_record(sweep.folder)
    rows, best = [], None
    for found in sweep.trials():
        own = found.record
        value = found.value if found.state == "FINISHED" else None
        row = {"number": found.number, "status": found.state, "value": value, "seconds": own["seconds"]}
        row["values"] = found.values
        rows.append({**row, "config": own["overrides"], "error": own["error"], "run_id": run_id(found.folder, store)})
        if own.get("alias"):
            metrics = result(found.folder)["metrics"]
            test = {name: number for name, number in metrics.items() if name.startswith("test/")}
            best = {key: rows[-1][key] for key in ("value", "config", "run_id", "number")}
            best.update(metrics=test, train=train_command(sweep, sweep.folder / "best.yaml"))
    return {
        "lab": record["lab"],
        "run_id": run_id(sweep.folder, store),
        "status": record["status"],
        "best": best,
        "front": record.get("front", []),
        "trials": rows,
        "seconds": record["seconds"],
        "folder": str(sweep.folder),
    }


def show(summary: dict[str, Any], home: Path | None) -> None:
    """The table at the end, the errors, and what to type next."""
    best = summary["best"]
    states = [row["status"] for row in summary["trials"]]
    counts = ", ".join(f"{states.count(state)} {state.lower()}" for state in sorted(set(states))) or "no trial"
    name = Path(summary["folder"]).name
    say(f"sweep {name}: {summary['status']} in {clock(summary['seconds'])} ({counts})")
    for row in summary["trials"]:
        if row["error"]:
            say(f"trial {row['number']}: {row['error']} (in {summary['folder']}/trials/{row['number']})", style="red")
    if best:
        scores = "  ".join(f"{name} {number(value)}" for name, value in best["metrics"].items())
        say(f"best: trial {best['number']} with {number(best['value'])} on validation  {scores}")
        say(f"      {cell(best['config'])}")
        for row in (row for row in summary["trials"] if row["number"] in summary["front"]):
            say(f"front: trial {row['number']} with {cell(row['values'])} (files/front-{row['number']}.yaml)")
        say(f"next: {best['train']}{f' --home {home}' if home else ''}")
        say(f"      labs ui{f' --home {home}' if home else ''}")
    if summary["status"] != "FINISHED":
        say("next: the same command again continues where this one ended")


def draw(sweep: Sweep, study: "Study") -> None:
    """Figures of the sweep, below `figures/`: best-so-far against time, parallel coordinates, importance."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    folder = sweep.folder / "figures"
    folder.mkdir(exist_ok=True)
    _draw_best_so_far(sweep, folder / "best-so-far.png")
    made: dict[str, Any] = {
        "parallel-coordinates": plots.plot_parallel_coordinate,
        "importance": plots.plot_param_importances,
    }
    options: dict[str, Any] = {}
    if sweep.lab.second:
        names = [f"val/{goal.name}" for goal in sweep.lab.goals]
        made["pareto-front"] = partial(plots.plot_pareto_front, target_names=names)
        options = {"target": lambda trial: trial.values[0], "target_name": names[0]}
    for name, plot in made.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that they are experimental, and that the layout is tight
            try:
                axes = plot(study, **(options if name != "pareto-front" else {}))
            except (ValueError, RuntimeError):  # too few trials, or all of one value: nothing to show
                continue
            axes.figure.set_size_inches(12, 5)
            axes.figure.savefig(folder / f"{name}.png", dpi=100, bbox_inches="tight")
            pyplot.close("all")


def _draw_best_so_far(sweep: Sweep, file: Path) -> None:
    from matplotlib.figure import Figure

    metric, start = sweep.lab.metric, read_record(sweep.folder)["created"]
    ended = [(found.record["ended"] - start, found.value) for found in sweep.trials() if found.state == "FINISHED"]
    points: list[tuple[float, float]] = []
    for seconds, value in sorted(ended, key=lambda pair: pair[0]):
        if value is not None:
            best = value if not points or metric.better(value, points[-1][1]) else points[-1][1]
            points.append((seconds, best))
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    seen = [(seconds, value) for seconds, value in ended if value is not None]
    axes.step([seconds for seconds, _ in points], [best for _, best in points], where="post", label="best so far")
    axes.scatter([seconds for seconds, _ in seen], [value for _, value in seen], s=12, label="trials")
    if min(value for _, value in seen) > 0 and max(value for _, value in seen) > 100 * points[-1][1]:
        axes.set_yscale("log")  # diverged trials would hide all others
    axes.set(xlabel="seconds since the sweep was begun", ylabel=f"val/{metric.name}", title=sweep.folder.name)
    axes.legend()
    figure.savefig(file, dpi=100, bbox_inches="tight")
