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
    if (Path(name) / "record.json").exists():
        found = [Path(name)]
    else:
        every = [*records(home, "trials"), *records(home, "runs")]
        of_lab = [folder for folder, record in every if record["lab"] == lab]
        found = [folder for folder in of_lab if _is_called(folder, name)]
        if not found:
            known = ", ".join(folder.name for folder in of_lab[-5:]) or "none"
            raise BadInput(f"no run {name!r} of lab {lab} in {home}: the newest ones are {known}")
    if len(found) > 1:
        raise BadInput(f"{name!r} fits {len(found)} runs: {', '.join(folder.name for folder in found)}")
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


def _is_called(folder: Path, name: str) -> bool:
    if folder.name.startswith(name):
        return True
    return any(run_id.startswith(name) for run_id in writer.run_ids(folder))
