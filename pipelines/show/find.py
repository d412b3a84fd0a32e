"""Finds what a user names: a run by id, folder or name, a pipeline by name."""

from pathlib import Path
from typing import Any

from labs.core.errors import BadInput
from pipelines.home import reconcile, records, result
from pipelines.show.summary import pipeline_document
from pipelines.tracking import writer


def find_run(home: Path, lab: str, name: str) -> Path:
    """Folder of a finished run of a lab.

    Args:
        home: the home folder.
        lab: the lab's name.
        name: the run's folder, its folder's name, or its MLflow run id in any store, or the beginning of one.

    Raises:
        BadInput: no such run, several, or one that has not finished.
    """
    if not name:
        raise BadInput("the name of a run is empty: give its id, or the name of its folder, or its beginning")
    if (Path(name) / "record.json").exists():
        found = [Path(name)]
    else:
        every = [*records(home, "trials"), *records(home, "runs")]
        of_lab = [folder for folder, record in every if record["lab"] == lab]
        found = [folder for folder in of_lab if _is_called(folder, name)]
        if not found:
            others = sorted({record["lab"] for folder, record in every if _is_called(folder, name)})
            if others:
                raise BadInput(f"run {name!r} in {home} is of lab {' and '.join(others)}, not of {lab}")
            newest = ", ".join(folder.name for folder in of_lab[-5:])
            there = f"the newest ones are {newest}" if newest else f"it has none; `labs train {lab}` makes one"
            raise BadInput(f"no run {name!r} of lab {lab} in {home}: {there}")
    if len(found) > 1:
        raise BadInput(f"{name!r} fits {len(found)} runs: {', '.join(_shown(folder) for folder in found)}")
    if not result(found[0]):
        raise BadInput(f"run {found[0].name} has not finished; its command continues it")
    return found[0]


def newest_pipeline(home: Path, name: str | None, store: writer.Store) -> dict[str, Any]:
    """Summary of the newest pipeline, or of the newest one of a name; `BadInput` where there is none."""
    reconcile(home)
    every = list(records(home, "pipelines"))
    found = [(folder, record) for folder, record in every if name in (None, record["name"])]
    if not found:
        known = ", ".join(sorted({record["name"] for _, record in every}))
        there = f"it has {known}" if known else "`labs train regression` or `labs pipeline run` starts the first one"
        raise BadInput(f"no pipeline{f' {name!r}' if name else ''} in {home}: {there}")
    folder, _ = max(found, key=lambda pair: pair[1].get("started", pair[1]["created"]))
    return pipeline_document(folder, store)


def _shown(folder: Path) -> str:
    """A run's folder, a trial's together with its sweep's."""
    return str(folder.relative_to(folder.parents[2])) if folder.parent.name == "trials" else folder.name


def _is_called(folder: Path, name: str) -> bool:
    if folder.name.startswith(name):
        return True
    return any(run_id.startswith(name) for run_id in writer.run_ids(folder))
