"""Tables of runs, made from MLflow: mean and spread over seeds, and only the settings that differ."""

import json
from statistics import mean, stdev
from typing import Any, Literal

from labs.core.errors import BadInput
from pipelines.show.display import cell
from pipelines.tracking.writer import Store

By = Literal["preset", "seed", "config"]
NOT_CONFIG = {"preset", "size", "seed", "workers", "cpus_per_worker", "gpus_per_worker"}


def find_runs(store: Store, runs: list[str], lab: str | None, pipeline: str | None) -> list[Any]:
    """The finished lab runs of a store, oldest first.

    Args:
        store: where to look.
        runs: ids or their beginnings; all runs if empty.
        lab: only this lab's.
        pipeline: only the runs, new or reused, of the newest pipeline run of this name.

    Raises:
        BadInput: a run or pipeline that the store does not have.
    """
    client = store.client()
    wanted = "tags.`labs.lab` LIKE '%' and attributes.status = 'FINISHED'"
    if lab:
        wanted += f" and tags.`labs.lab` = '{lab}'"
    found = _search(client, store.experiment, wanted)
    if pipeline:
        parents = _search(client, store.experiment, f"tags.`labs.pipeline` = '{pipeline}'")
        if not parents:
            names = {
                run.data.tags["labs.pipeline"]
                for run in _search(client, store.experiment, "tags.`labs.pipeline` LIKE '%'")
            }
            raise BadInput(
                f"no pipeline {pipeline!r} in {store.shown_uri}: it has {', '.join(sorted(names)) or 'none'}"
            )
        folders = {value for name, value in parents[-1].data.tags.items() if name.startswith("labs.node.")}
        found = [run for run in found if run.data.tags["labs.folder"].rsplit("/", 1)[-1] in folders]
    for prefix in runs:
        if not any(run.info.run_id.startswith(prefix) for run in found):
            raise BadInput(f"no finished run {prefix!r} in {store.shown_uri}; `labs compare` lists them all")
    if not runs:  # trials of sweeps are many, and one of them is compared where it is named
        return [run for run in found if "labs.trial" not in run.data.tags]
    return [run for run in found if any(run.info.run_id.startswith(prefix) for prefix in runs)]


def compare(runs: list[Any], by: By = "config") -> list[dict[str, Any]]:
    """One row for each group of runs that differ in their seed alone (`config`), or more coarsely or finely.

    Args:
        runs: MLflow runs of labs.
        by: `config` puts runs of one lab, preset, size and settings together; `preset` ignores other settings;
            `seed` gives each run a row.
    """
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for run in runs:
        groups.setdefault(_group(run, by), []).append(run)
    labs_seen: dict[str, list[Any]] = {}
    for run in runs:
        labs_seen.setdefault(run.data.tags["labs.lab"], []).append(run)
    return [_row(group, _differing(labs_seen[group[0].data.tags["labs.lab"]])) for group in groups.values()]


def markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """The rows as a Markdown table; `columns` is key -> heading."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(cell(row.get(key)) for key in columns) + " |" for row in rows)])


def _search(client: Any, experiment: str, wanted: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment], wanted, max_results=1000, order_by=["attributes.start_time"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _group(run: Any, by: By) -> tuple[Any, ...]:
    tags = run.data.tags
    common = (tags["labs.lab"], tags["labs.preset"], tags["labs.size"])
    if by == "preset":
        return common
    if by == "seed":
        return (*common, run.info.run_id)
    return (*common, *sorted(item for item in run.data.params.items() if item[0] != "seed"))


def _differing(runs: list[Any]) -> list[str]:
    """Names of the config fields that are not the same in all runs of a lab."""
    names = sorted({name for run in runs for name in run.data.params} - NOT_CONFIG)
    return [name for name in names if len({run.data.params.get(name) for run in runs}) > 1]


def _row(group: list[Any], differing: list[str]) -> dict[str, Any]:
    tags, first = group[0].data.tags, group[0].data
    metric = tags["labs.metric"]
    key = next((name for name in (f"test/{metric}", f"val/{metric}") if name in first.metrics), f"val/{metric}")
    values = [run.data.metrics[key] for run in group if key in run.data.metrics]
    return {
        "lab": tags["labs.lab"],
        "preset": tags["labs.preset"],
        "size": tags["labs.size"],
        "metric": key,
        "goal": tags["labs.goal"],
        "mean": mean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
        "seeds": sorted(int(run.data.tags["labs.seed"]) for run in group),
        "seconds": mean((run.info.end_time - run.info.start_time) / 1000 for run in group),
        "config": {name: _value(first.params.get(name)) for name in differing if _same(group, name)},
        "run_ids": [run.info.run_id for run in group],
    }


def _value(param: str | None) -> Any:
    """A number or a list of a parameter's text; any other text as it is."""
    try:
        return json.loads(param or "null")
    except json.JSONDecodeError:
        return param


def _same(group: list[Any], name: str) -> bool:
    return len({run.data.params.get(name) for run in group}) == 1
