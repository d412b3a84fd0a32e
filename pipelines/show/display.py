"""What a person sees: a live line for each node, and tables. Everything is read from the folders' records."""

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape

import labs
from labs.core import events
from labs.core.errors import BadInput
from pipelines.home import RECORD, has_record, read_record, result
from pipelines.show.fitted import FittedTable


def columns_of(stream: TextIO) -> int | None:
    """Width of a table on a stream: None for the terminal's own or that of COLUMNS, 120 for a pipe or a file."""
    return None if stream.isatty() or "COLUMNS" in os.environ else 120


screen = Console(stderr=True, width=columns_of(sys.stderr))
"""Progress and messages; standard output stays free for `--json`."""
STYLES = {"FINISHED": "green", "RUNNING": "cyan", "FAILED": "red", "KILLED": "yellow", "BLOCKED": "red"}
LINE_EVERY_S = 30.0
FIRST_SHOWN = ("RUNNING", "FAILED", "KILLED", "BLOCKED", "WAITING", "FINISHED")
"""Which nodes are shown where the screen has not lines for all."""
LINES_AROUND = 4
"""Lines of the screen beside the nodes: title, headings, the prompt."""


def say(message: str, style: str = "") -> None:
    """One line to the person at the screen; a pipe gets it unbroken."""
    screen.print(message, style=style, markup=False, highlight=False, soft_wrap=True)


class Progress:
    """Shows a pipeline's folder while entered: a live table on a terminal, else a line where something changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = Live(console=screen, refresh_per_second=4, transient=True) if screen.is_terminal else None
        self.said: dict[str, tuple[str, float]] = {}
        self.last = 0.0
        self.nodes: dict[str, dict[str, Any]] = {}
        self.data: dict[str, dict[str, Any]] = {}
        """Place of each data set that nodes wait for -> its lab and status."""
        self.read_at = 0
        """When the record that both are from was written."""
        self.states: dict[str, tuple[tuple[str, int], dict[str, str]]] = {}
        """Of each node: its status, when its last event was written, and what is shown of it."""

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self.live:
            self.live.stop()

    def tick(self) -> None:
        """Show what has changed in the folder, at most four times a second."""
        if time.monotonic() - self.last < 0.25:
            return
        self.last = time.monotonic()
        if (written := _written(self.folder / RECORD)) != self.read_at:
            record, self.read_at = read_record(self.folder), written
            self.nodes, self.data = record["nodes"], record.get("preparations", {})
        if self.live:
            self.live.update(self._live_table(screen.height))
            return
        for place, data in self.data.items():
            if self._is_news(place, data["status"]):
                print(_line_of_data(Path(place), data), file=sys.stderr, flush=True)
        for name, node in self.nodes.items():
            if self._is_news(name, node["status"]):
                print(_line(name, node), file=sys.stderr, flush=True)

    def _is_news(self, name: str, now: str) -> bool:
        """Whether a status has changed, or work has gone on for a while, since a line was printed."""
        status, since = self.said.get(name, ("WAITING", 0.0))
        if now == status and not (status == "RUNNING" and self.last - since > LINE_EVERY_S):
            return False
        self.said[name] = (now, self.last)
        return True

    def _live_table(self, height: int) -> FittedTable:
        """The nodes, or those that fit the screen: first those that run, then those that went wrong."""
        columns = {"name": "node", "status": "state", "progress": "progress", "metric": "metric",
                   "speed": "samples/s", "left": "time left"}  # fmt: skip
        names, title = list(self.nodes), _preparing(self.data)
        if len(names) > height - LINES_AROUND:
            counts = Counter(node["status"] for node in self.nodes.values())
            counted = [f"{counts[status]} {status}" for status in FIRST_SHOWN if counts[status]]
            title = ", ".join([*counted, title] if title else counted)
            names.sort(key=lambda name: FIRST_SHOWN.index(self.nodes[name]["status"]))
            names = names[: max(1, height - LINES_AROUND)]
        rows = [{"name": name, **self._state(name), "status": _coloured(self.nodes[name]["status"])} for name in names]
        right = ("progress", "metric", "speed", "left")
        return FittedTable(rows, columns, title, drop=("speed", "left"), right=right, rules=False)

    def _state(self, name: str) -> dict[str, str]:
        """What is shown of a node; its events are read again only where one was written."""
        node = self.nodes[name]
        now = node["status"], _written(Path(node["folder"]) / events.FILE)
        known = self.states.get(name)
        if known is None or known[0] != now or not now[1]:
            self.states[name] = known = now, state_of(node)
        return known[1]


def _written(file: Path) -> int:
    """When a file was last written; 0 for one that is not there."""
    try:
        return os.stat(file).st_mtime_ns
    except FileNotFoundError:
        return 0


def _line(name: str, node: dict[str, Any]) -> str:
    now = state_of(node)
    parts = [now["progress"], now["metric"], _time_so_far(node), node["error"]]
    status = f"{node['status']} (reused)" if node["reused"] else node["status"]
    return "  ".join([time.strftime("%H:%M:%S"), f"{name}: {status}", *(part for part in parts if part)])


def _preparing(data: dict[str, dict[str, Any]]) -> str:
    """Each data set that is being prepared now, with the megabytes that are packed already."""
    now = [f"{d['lab']} ({_packed(Path(place))})" for place, d in data.items() if d["status"] == "RUNNING"]
    return f"preparing data of {', '.join(sorted(now))}" if now else ""


def _line_of_data(place: Path, data: dict[str, Any]) -> str:
    parts = [f"data of {data['lab']}: {data['status']}", _packed(place), data["error"]]
    return "  ".join([time.strftime("%H:%M:%S"), *(part for part in parts if part)])


def _packed(place: Path) -> str:
    from pipelines.datasets import packed_bytes

    return f"{packed_bytes(place) / 1e6:.0f} MB packed"


def state_of(node: dict[str, Any]) -> dict[str, str]:
    """Epochs or, of a sweep, trials done, metric, samples/s and time left of a node, from the last event of its run."""
    now = {"progress": "", "metric": "", "speed": "", "left": ""}
    trained = [event for event in events.read(Path(node["folder"])) if "of" in event]
    if not trained:
        now["progress"] = _before_the_first_epoch(node)
        return now
    last = trained[-1]
    metric = labs.heading(node["lab"]).metric.name
    now["progress"] = f"{node.get('unit', 'epoch')} {last['step']}/{last['of']}"
    if f"val/{metric}" in last["metrics"]:
        now["metric"] = f"val/{metric} {number(last['metrics'][f'val/{metric}'])}"
    if "perf/samples_per_s" in last["metrics"]:
        now["speed"] = number(last["metrics"]["perf/samples_per_s"])
    # A sweep's events, one for each trial that ended, have no seconds of their own.
    seconds = [event["metrics"]["time/epoch_s"] for event in trained if "time/epoch_s" in event["metrics"]]
    seconds = seconds or [after["time"] - before["time"] for before, after in pairwise(trained)]
    if node["status"] == "RUNNING" and seconds:
        now["left"] = clock(mean(seconds) * (last["of"] - last["step"]))
    return now


def _before_the_first_epoch(node: dict[str, Any]) -> str:
    """`epoch 0/N` of a running lab whose config says how many epochs it trains; else nothing."""
    epochs = _record_while_running(node).get("config", {}).get("epochs")
    return f"epoch 0/{epochs}" if epochs else ""


def _time_so_far(node: dict[str, Any]) -> str:
    """How long this command has worked on a node that runs; nothing in its first second."""
    started = _record_while_running(node).get("started")
    seconds = time.time() - started if started else 0.0
    return f"{clock(seconds)} so far" if seconds >= 1 else ""


def _record_while_running(node: dict[str, Any]) -> dict[str, Any]:
    """The record of a node's folder; empty for a node that does not run, or whose record is not there or damaged."""
    folder = Path(node["folder"])
    if node["status"] == "RUNNING" and has_record(folder):
        with suppress(BadInput):  # the node itself will fail of it
            record = read_record(folder)
            return record if record["status"] == "RUNNING" else {}  # else of an earlier command
    return {}


def summary_table(summary: dict[str, Any]) -> FittedTable:
    """The table at the end of a pipeline: score on test data, a trivial predictor's beside it, time, MLflow run.

    A narrow screen first loses seed and preset (of most pipelines the node's name has both), then the trivial
    predictor's score, the time, and last the MLflow run, which `labs deliver` asks for; never the test score.
    """
    columns = {"name": "node", "preset": "preset", "seed": "seed", "status": "status", "metric": "metric",
               "value": "test", "trivial": "trivial", "time": "time", "run": "MLflow run"}  # fmt: skip
    rows = [
        {
            **{key: cell(node[key]) for key in ("name", "preset", "seed", "metric", "value", "trivial")},
            "status": _coloured(node["status"]) + (" reused" if node["reused"] else ""),
            "time": clock(node["seconds"]),
            "run": (node["run_id"] or "-")[:8],
        }
        for node in summary["nodes"]
    ]
    title = f"pipeline {summary['pipeline']}: {summary['status']} in {clock(summary['seconds'])}"
    drop = ("seed", "preset", "trivial", "time", "run")
    return FittedTable(rows, columns, title, drop, right=("value", "trivial", "time"))


def rows_table(
    rows: list[dict[str, Any]], columns: dict[str, str], title: str = "", drop: Sequence[str] = ()
) -> FittedTable:
    """A plain table of `rows`: key -> heading for each column; numbers to the right.

    Args:
        drop: keys of the columns that a narrow screen may lose, the first one first.
    """
    escaped = [{key: escape(cell(row.get(key))) for key in columns} for row in rows]
    numeric = [key for key in columns if any(isinstance(row.get(key), (int, float)) for row in rows)]
    return FittedTable(escaped, columns, title, drop, numeric)


def number(value: float | None) -> str:
    """Four digits, or all of a larger number below a million million: 0.1234, 123.4, 1,234, 31,234; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 999.95 <= abs(value) < 1e12 else f"{value:.4g}"


def clock(seconds: float) -> str:
    """Seconds as `41s`, `3m05s` or `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def summarise(folder: Path, run_ids: dict[str, str | None]) -> dict[str, Any]:
    """A pipeline's folder as the document that `--json` prints.

    Args:
        folder: the pipeline's folder.
        run_ids: run folder -> id of its MLflow run, and the same for the pipeline's own folder.
    """
    record = read_record(folder)
    nodes = []
    for name, node in record["nodes"].items():
        metric = labs.heading(node["lab"]).metric
        run = Path(node["folder"])
        found = result(run).get("metrics", {})
        seconds = node["seconds"]
        if has_record(run):
            with suppress(BadInput):  # a damaged record: the pipeline's own still says something
                seconds = read_record(run)["seconds"]
        nodes.append(
            {
                **{key: node[key] for key in ("lab", "preset", "size", "seed", "status", "reused", "error")},
                "name": name,
                "metric": f"test/{metric.name}",
                "goal": metric.goal,
                "value": found.get(f"test/{metric.name}"),
                "trivial": found.get("test/trivial"),
                "seconds": seconds,
                "run_id": run_ids.get(node["folder"]),
                "folder": node["folder"],
            }
        )
    so_far = time.time() - record["started"] if record["status"] == "RUNNING" else 0.0
    shown = {"status": record["status"], "seconds": record["seconds"] + so_far}
    return {"pipeline": record["name"], "run_id": run_ids.get(str(folder)), **shown, "nodes": nodes}


def _coloured(status: str) -> str:
    style = STYLES.get(status)
    return f"[{style}]{status}[/{style}]" if style else status


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {number(item) if isinstance(item, float) else item}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return "-" if value is None else str(value)
