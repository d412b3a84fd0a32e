"""Tables of runs: mean and standard deviation over seeds, and only the settings that differ."""

import json
from statistics import mean, stdev
from typing import Any, Literal

from pipelines.show.display import cell
from pipelines.show.runs import Run

By = Literal["preset", "seed", "config"]
FEW_SEEDS = 5
"""How many seeds, or ranges of seeds, a cell of a table names."""
NOT_CONFIG = {"preset", "size", "seed", "workers", "cpus_per_worker", "gpus_per_worker"}


def compare(runs: list[Run], by: By = "config") -> list[dict[str, Any]]:
    """One row for each group of runs that differ in their seed alone (`config`), or more coarsely or finely.

    Args:
        runs: finished runs of labs.
        by: `config` puts runs of one lab, preset, size and settings together; `preset` ignores other settings;
            `seed` gives each run a row.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(_group(run, by), []).append(run)
    labs_seen: dict[str, list[Run]] = {}
    for run in runs:
        labs_seen.setdefault(run.tags["labs.lab"], []).append(run)
    differing = {lab: _differing(of_lab) for lab, of_lab in labs_seen.items()}
    return [_row(group, differing[group[0].tags["labs.lab"]]) for group in groups.values()]


def markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """The rows as a Markdown table; `columns` is key -> heading."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(cell(row.get(key)) for key in columns) + " |" for row in rows)])


def with_short_seeds(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its seeds as a person reads them: a few by name, more as ranges, or else their number."""
    ranges: list[list[int]] = []
    for seed in sorted(set(row["seeds"])):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1].append(seed)
        else:
            ranges.append([seed])
    if len(row["seeds"]) <= FEW_SEEDS:
        return row
    texts = [f"{found[0]}-{found[-1]}" if len(found) > 1 else str(found[0]) for found in ranges]
    return {**row, "seeds": texts if len(texts) <= FEW_SEEDS else f"{len(row['seeds'])} seeds"}


def _group(run: Run, by: By) -> tuple[Any, ...]:
    tags = run.tags
    common = (tags["labs.lab"], tags["labs.preset"], tags["labs.size"])
    if by == "preset":
        return common
    if by == "seed":
        return (*common, run.run_id)
    return (*common, *sorted(item for item in run.params.items() if item[0] != "seed"))


def _differing(runs: list[Run]) -> list[str]:
    """Names of the config fields that are not the same in all runs of a lab."""
    names = sorted({name for run in runs for name in run.params} - NOT_CONFIG)
    return [name for name in names if len({run.params.get(name) for run in runs}) > 1]


def _row(group: list[Run], differing: list[str]) -> dict[str, Any]:
    tags, first = group[0].tags, group[0]
    metric = tags["labs.metric"]
    key = next((name for name in (f"test/{metric}", f"val/{metric}") if name in first.metrics), f"val/{metric}")
    values = [run.metrics[key] for run in group if key in run.metrics]
    return {
        "lab": tags["labs.lab"],
        "preset": tags["labs.preset"],
        "size": tags["labs.size"],
        "metric": key,
        "goal": tags["labs.goal"],
        "mean": mean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
        "seeds": sorted(int(run.tags["labs.seed"]) for run in group),
        "seconds": mean(run.seconds for run in group),
        "config": {name: _value(first.params.get(name)) for name in differing if _same(group, name)},
        "run_ids": [run.run_id for run in group],
    }


def _value(param: str | None) -> Any:
    """A number or a list of a parameter's text; any other text as it is."""
    try:
        return json.loads(param or "null")
    except json.JSONDecodeError:
        return param


def _same(group: list[Run], name: str) -> bool:
    return len({run.params.get(name) for run in group}) == 1
