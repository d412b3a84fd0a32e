"""The rows of `labs compare` as tables for a screen, as Markdown and as CSV."""

import csv
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.text import Text

from pipelines.show.compare import Row
from pipelines.show.display import cell, clock, number
from pipelines.show.fitted import FittedTable
from pipelines.show.intervals import FEW

FEW_SEEDS = 5
"""How many seeds, or ranges of seeds, a cell names at most."""
DIGEST = 8
"""Characters of a digest or an MLflow id that a table shows."""
COLUMNS = {
    "preset": "preset", "size": "size", "settings": "settings", "mean": "mean", "interval": "95 % interval",
    "best": "best", "test_error": "test ±", "difference": "difference", "range": "interval of difference",
    "verdict": "verdict",
    "passed": "passes", "seeds": "seeds", "time": "time", "core_seconds": "core-s", "gpu_seconds": "GPU-s",
    "memory_mb": "memory MB", "parameters": "parameters",
}  # fmt: skip
"""Key of a cell -> heading. A column without a value is left out."""
DROP = (
    *("parameters", "memory_mb", "gpu_seconds", "core_seconds", "best", "range"),
    *("test_error", "seeds", "difference", "time", "interval", "run_id"),
)
"""What a narrow screen loses, in this order; never what a row is, its mean, the verdict and the thresholds."""
RIGHT = ("mean", "best", "test_error", "difference", "time", "core_seconds", "gpu_seconds", "memory_mb", "parameters")
UNSCORED = {"lab": "lab", "name": "run", "seeds": "seed", "status": "status", "reason": "why", "run_id": "id"}


@dataclass(frozen=True)
class Comparison:
    """A table of rows for each lab, metric and data set; below them what was not averaged, and what columns mean."""

    rows: list[Row]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        scored, others = _split(self.rows)
        dropped: dict[str, str] = {}
        for beside in _comparable(scored):
            table = _table(beside)
            yield Text(_title(beside))
            yield table
            yield Text("")
            dropped |= _dropped(table, console, options)
        if others:
            yield Text(f"not averaged: {len(others)} without a score")
            rows = [{key: escape(text) for key, text in _unscored(row).items()} for row in others]
            table = FittedTable(rows, UNSCORED, whole=("lab", "seeds", "status", "run_id"), drop=("run_id",))
            yield table
            yield Text("")
            dropped |= _dropped(table, console, options)
        if dropped:
            order = [dropped[key] for key in DROP if key in dropped]
            yield Text(f"No room for {', '.join(order)}: a wider screen shows them, and --csv has all.")
        yield from map(Text, _notes(scored))


def markdown(rows: list[Row]) -> str:
    """All rows with a score in one Markdown table, and the others in another."""
    scored, others = _split(rows)
    more = {"lab": "lab", "metric": "metric", "data": "data"}
    cells = [{**{key: row[key] for key in more}, **_cells(row), "data": row["data"][:DIGEST]} for row in scored]
    columns = {"lab": "lab", "preset": "preset", **more, **COLUMNS}
    texts = [_markdown(cells, _filled(cells, columns)) if cells else ""]
    if others:
        texts.append("Not averaged:\n\n" + _markdown([_unscored(row) for row in others], UNSCORED))
    return "\n\n".join(filter(None, texts))


def as_csv(rows: list[Row]) -> str:
    """All rows with all keys; a list is separated by blanks, and settings are JSON."""
    text = StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: _plain(value) for key, value in row.items()})
    return text.getvalue()


def short_seeds(seeds: list[int]) -> str:
    """Seeds as a person reads them: three in a row and more as a range; of many that are in no row their number."""
    ranges: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1].append(seed)
        else:
            ranges.append([seed])
    texts = [text for found in ranges for text in ([f"{found[0]}-{found[-1]}"] if len(found) > 2 else map(str, found))]
    return ", ".join(texts) if len(texts) <= FEW_SEEDS else f"{len(seeds)} seeds"


def _dropped(table: FittedTable, console: Console, options: ConsoleOptions) -> dict[str, str]:
    """The columns that a screen has no room for."""
    kept = table.kept(console, options)
    return {key: heading for key, heading in table.columns.items() if key not in kept}


def _split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows with a score, and rows without one."""
    return ([row for row in rows if row["status"] == "FINISHED"], [row for row in rows if row["status"] != "FINISHED"])


def _comparable(rows: list[Row]) -> list[list[Row]]:
    """The rows of each lab, metric and data set."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row["lab"], row["metric"], row["data"]), []).append(row)
    return list(found.values())


def _title(rows: list[Row]) -> str:
    first = rows[0]
    parts = [f"{first['lab']} {first['metric']}, {'lower' if first['goal'] == 'min' else 'higher'} is better"]
    if len({row["size"] for row in rows}) == 1:
        parts.append(f"size {first['size']}")
    if first["trivial"] is not None:
        parts.append(f"trivial {number(first['trivial'])}")
    if first["test_samples"]:
        parts.append(f"{first['test_samples']:,} test samples")
    if first["origin"] != "environment":
        parts.append(f"{first['origin']} data {first['data'][:DIGEST]}")
    return ", ".join(parts)


def _table(rows: list[Row]) -> FittedTable:
    cells = [_cells(row) for row in rows]
    columns = _filled(cells, COLUMNS)
    if len({row["size"] for row in rows}) == 1:
        del columns["size"]
    if not any(row["verdict"] for row in rows):
        del columns["verdict"]
    escaped = [{key: escape(found[key]) for key in columns} for found in cells]
    return FittedTable(escaped, columns, drop=DROP, right=RIGHT, whole=[key for key in columns if key != "settings"])


def _cells(row: Row) -> dict[str, str]:
    """What a table shows of a row; "" for what it has not."""
    difference, passed = row["difference"], row["passed"]
    return {
        "preset": row["preset"] + (" tuned" if row["sweep"] else ""),
        "size": row["size"],
        "settings": cell(row["settings"]),
        "mean": number(row["mean"]),
        "interval": _range(row["low"], row["high"]),
        "best": number(row["best"]) if row["interval"] else "",
        "test_error": "" if row["test_error"] is None else f"±{number(row['test_error'])}",
        "difference": "" if difference is None else ("+" if difference > 0 else "") + number(difference),
        "range": _range(row["difference_low"], row["difference_high"]),
        "verdict": row["verdict"] or "baseline",
        "passed": "" if passed is None else ", ".join(passed) or "none",
        "seeds": short_seeds(row["seeds"]),
        "time": clock(row["seconds"]),
        "core_seconds": _amount(row["core_seconds"]),
        "gpu_seconds": _amount(row["gpu_seconds"]),
        "memory_mb": _amount(row["memory_mb"]),
        "parameters": _amount(row["parameters"]),
    }


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None else f"{number(low)} to {number(high)}"


def _amount(value: float | None) -> str:
    return f"{value:,.0f}" if value else ""


def _filled(cells: list[dict[str, str]], columns: dict[str, str]) -> dict[str, str]:
    """The columns in which some row has something to show."""
    return {key: heading for key, heading in columns.items() if any(found[key] for found in cells)}


def _unscored(row: Row) -> dict[str, str]:
    texts = {key: row[key] for key in ("lab", "name", "status", "reason")}
    (run_id,) = row["run_ids"]
    # The beginning of an id is enough for other commands; a run without one in a store has its folder's name.
    return {**texts, "seeds": short_seeds(row["seeds"]), "run_id": run_id if "-" in run_id else run_id[:DIGEST]}


def _notes(rows: list[Row]) -> list[str]:
    """What a reader must know of the numbers."""
    methods = {row[key] for row in rows for key in ("interval", "difference_interval")} - {None}
    named = {"t": "Student's t", "bootstrap": f"a bootstrap (BCa), or Student's t with fewer than {FEW} seeds"}
    notes = [
        f"{row['lab']} {row['name']}: seed {seed} was run {row['seeds'].count(seed)} times, and its mean counts once."
        for row in rows
        for seed in row["repeated_seeds"]
    ]
    if methods:
        notes.append(f"95 % intervals are of the mean over seeds, by {named[min(methods)]}; differences are to the "
                     "baseline, seed by seed.")  # fmt: skip
    if any(row["test_error"] is not None for row in rows):
        notes.append("test ± is the binomial standard error of the test set, the same for all seeds.")
    if any(row["passed"] is not None for row in rows):
        notes.append("Thresholds of the course that a validation score passes: indicative, as its test answers are "
                     "not published.")  # fmt: skip
    return notes


def _markdown(rows: list[dict[str, str]], columns: dict[str, str]) -> str:
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_inline(row[key]) for key in columns) + " |" for row in rows)])


def _inline(text: str) -> str:
    """A text as it can stand in a cell of Markdown: on one line, without bars and markup."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    return " ".join(map(str, value)) if isinstance(value, list) else value
