"""An SQLite store that was copied or moved with its home folder: it names the place where it was before.

MLflow writes each run's files to the place that the store names, which may be the original home, in use.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.home import KINDS, locked, records

STORE, ARTIFACTS = "mlflow.db", "artifacts"
"""In a home folder, its own store and where that keeps the runs' files."""
EXPERIMENTS = "select artifact_location from experiments where artifact_location like 'file:///%'"
KEYS = (
    "select key.value from tags key join tags folder on key.run_uuid = folder.run_uuid "
    "where key.key like '%labs.key' and folder.key like '%labs.folder' and substr(folder.value, 1, ?) = ?"
)
"""The unique keys of runs whose folders' paths begin so."""
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("tags", "value"),
)
"""Tables and columns of MLflow's schema that name folders."""


def bring_home(file: Path) -> None:
    """Let a store that was copied or moved with its home name this home's folders, in one transaction.

    A store that does not lie in a home, one that another home has made here, and one that is still reached at the place
    that it names, stay as they are.

    Args:
        file: the SQLite file.
    """
    home = file.parent
    if file.name != STORE or not (home / "home.lock").exists():
        return
    with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as store:
        if _homes(store) - {home}:
            with locked(Path(f"{file}.lock"), "moving the MLflow store"):
                for before in _homes(store) - {home}:
                    if not _is_reached(before, home) and _has_runs_of(store, before, home):
                        _move(store, before, home)


def _move(store: sqlite3.Connection, before: Path, home: Path) -> None:
    store.execute("begin immediate")
    for old, new in ((f"{before.as_uri()}/", f"{home.as_uri()}/"), (f"{before}/", f"{home}/")):
        for table, column in PLACES:
            store.execute(
                f"update {table} set {column} = ? || substr({column}, ?) where substr({column}, 1, ?) = ?",
                (new, len(old) + 1, len(old), old),
            )
    store.execute("commit")


def _homes(store: sqlite3.Connection) -> set[Path]:
    """The home folders that experiments keep files in."""
    places = (Path(unquote(urlsplit(place).path)) for (place,) in store.execute(EXPERIMENTS))
    # MLflow's first experiment and those that were made in its interface have folders of their own in it.
    roots = (place if place.name == ARTIFACTS else place.parent for place in places)
    return {root.parent for root in roots if root.name == ARTIFACTS}


def _is_reached(before: Path, home: Path) -> bool:
    """Whether the home is still found at that place too, as where one is a link to the other."""
    return before.exists() and os.path.samefile(before, home)


def _has_runs_of(store: sqlite3.Connection, before: Path, home: Path) -> bool:
    """Whether the runs that the store has of a home are those of this one's folders, or there are none."""
    path = f"{before}/"
    keys = {key for (key,) in store.execute(KEYS, (len(path), path))}
    return not keys or any(record["key"] in keys for kind in KINDS for _, record in records(home, kind))
