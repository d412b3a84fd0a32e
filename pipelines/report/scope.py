"""What a report is about: all runs of the home folder, those of a lab or of a pipeline, or a sweep."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labs
from labs.core.errors import BadInput
from pipelines.home import has_record, read_record, records
from pipelines.node import MEASURED

Recorded = tuple[Path, dict[str, Any]]
"""A folder and its record."""


@dataclass(frozen=True)
class Scope:
    """What a report is about."""

    title: str
    file_name: str
    """Name of the report's file, where none is asked for."""
    runs: list[Recorded]
    """Runs of labs, oldest first."""
    pipeline: Recorded | None
    """The pipeline whose course in time is shown."""
    sweeps: list[Recorded]


def choose(home: Path, name: str | None, lab: str | None) -> Scope:
    """Find what is asked for below the home folder.

    Args:
        home: the home folder.
        name: a pipeline's name, which means its newest run, or the name of a pipeline's or sweep's folder, or the
            beginning of one.
        lab: only this lab's runs and sweeps.

    Raises:
        BadInput: there is no such pipeline, sweep or lab, or no run of it, or both are given.
    """
    if name is not None and lab is not None:
        raise BadInput("a report is of a pipeline, of a sweep, or of a lab (--lab): name one of them")
    if lab is not None:
        labs.heading(lab)
    pipelines, sweeps = by_start(records(home, "pipelines")), by_start(records(home, "sweeps"))
    if name is not None:
        if found := _newest(pipelines, name):
            return of_pipeline(*found)
        if found := _newest(sweeps, name):
            return Scope(f"Sweep {found[0].name}", found[0].name, [], None, [found])
        known = sorted({record["name"] for _, record in pipelines} | {folder.name for folder, _ in sweeps})
        raise BadInput(f"no pipeline or sweep {name!r} in {home}: it has {', '.join(known) or 'none'}")
    runs = [(folder, record) for folder, record in records(home, "runs") if MEASURED not in record["tags"]]
    if lab is not None:
        of_lab, tuned = ([pair for pair in found if pair[1]["lab"] == lab] for found in (runs, sweeps))
        if not of_lab and not tuned:
            raise BadInput(f"no run of lab {lab} in {home}: `labs train {lab}` makes one")
        return Scope(f"Lab {lab}", f"lab-{lab}", of_lab, None, tuned)
    names = {folder.name for folder, _ in runs}
    several = [pair for pair in pipelines if len(_folders(pair[1]) & names) > 1]
    return Scope("All labs", "all", runs, several[-1] if several else None, sweeps)


def of_pipeline(folder: Path, record: dict[str, Any]) -> Scope:
    """A pipeline with the runs and sweeps that are its nodes, new or reused, and were begun."""
    home = folder.parents[1]
    found: dict[str, list[Recorded]] = {"runs": [], "sweeps": []}
    for kind, pairs in found.items():
        for own in (home / kind / name for name in _folders(record)):
            with suppress(BadInput):  # damaged: the node has failed of it, or `labs sync` names it
                if has_record(own):
                    pairs.append((own, read_record(own)))
        pairs.sort(key=lambda pair: pair[1]["created"])
    return Scope(f"Pipeline {record['name']}", record["name"], found["runs"], (folder, record), found["sweeps"])


def _folders(pipeline: dict[str, Any]) -> set[str]:
    """Names of the folders of a pipeline's nodes."""
    return {Path(node["folder"]).name for node in pipeline["nodes"].values()}


def by_start(found: Iterable[Recorded]) -> list[Recorded]:
    """Pipelines or sweeps in the order in which they were started last."""
    return sorted(found, key=lambda pair: float({"started": pair[1]["created"], **pair[1]}["started"]))


def _newest(found: list[Recorded], name: str) -> Recorded | None:
    called = [pair for pair in found if name == pair[1]["name"]]
    begins_so = [pair for pair in found if name and pair[0].name.startswith(name)]
    return next(reversed(called or begins_so), None)
