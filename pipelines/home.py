"""The home folder: where data, runs and pipelines live, and how processes agree on who writes what."""

import errno
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from labs.core import events
from labs.core.errors import BadInput
from pipelines import record_fields
from pipelines.moved_home import of_this_home

Status = Literal["WAITING", "RUNNING", "FINISHED", "FAILED", "KILLED", "BLOCKED"]
"""Status of a run or a node, in MLflow's words; WAITING and BLOCKED (by a need that failed) are of what has not
started."""
Kind = Literal["pipelines", "sweeps", "runs", "trials"]
KINDS: tuple[Kind, ...] = ("pipelines", "sweeps", "runs", "trials")
"""What has a folder with a record; each kind stands after those that it can be a part of."""
RECORD = "record.json"
RESULT = "result.json"
"""What a run writes at its end (`labs.core.run.Run`): a folder that has it has finished."""
LOCK_WAIT_S = 600
START_WAIT_S = 0.5
"""How long a process that wants to drive waits for the lock: longer than one that only asks holds it."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system answers that has no locks."""


def find_home(given: Path | None) -> Path:
    """The home folder: `--home`, else `LABS_HOME`, else `.labs` in the current folder; made if missing."""
    home = (given or Path(os.environ.get("LABS_HOME", ".labs"))).expanduser().resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"home folder {home} can't be made: {error.strerror}") from None
    _require_locks(home)
    return home


def cache_folder() -> Path:
    """Where a node that does not see the home folder keeps what it is sent."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "labs")


def _require_locks(home: Path) -> None:
    """Check that the home's file system has locks: without, nobody could tell a living process from a dead one."""
    try:
        with (home / "home.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise BadInput(
                f"home folder {home} is on a file system without file locks ({error.strerror}): "
                "mount it with locks, or choose another folder (--home, LABS_HOME)"
            ) from None


def has_record(folder: Path) -> bool:
    """Whether a run, a pipeline, a sweep or a trial was begun in the folder."""
    return (folder / RECORD).exists()


def read_record(folder: Path) -> dict[str, Any]:
    """What is known about a run or a pipeline beside its results: identity, status, times, error.

    Raises:
        BadInput: the file was damaged.
    """
    file = folder / RECORD
    try:
        text = file.read_text()
        record: dict[str, Any] = json.loads(text)
        fault = record_fields.fault(record, folder.parent.name)
    except ValueError:
        fault = "as after a power cut"
    if fault:
        raise BadInput(f"{file} can't be read ({fault}): remove the folder {folder} to begin anew")
    return of_this_home(record, text, folder)


def write_record(folder: Path, **fields: Any) -> dict[str, Any]:
    """Set some fields of the folder's record and keep the others; a reader sees the old record or the new one."""
    record = {**(read_record(folder) if has_record(folder) else {}), **fields}
    folder.mkdir(parents=True, exist_ok=True)
    events.write_text(folder / RECORD, json.dumps(record, indent=2))
    return record


def records(home: Path, kind: Kind) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and record of each run, pipeline, sweep or trial below the home, oldest first.

    One that can't be read is named and passed over.
    """
    found, faults = _read_records(home, kind)
    for fault in faults:
        _warn_once(fault)
    yield from sorted(found, key=lambda pair: pair[1]["created"])


def damaged_records(home: Path) -> list[str]:
    """A sentence for each record below the home that can't be read."""
    return [fault for kind in KINDS for fault in _read_records(home, kind)[1]]


def result(folder: Path) -> dict[str, Any]:
    """What a finished run wrote to `result.json`; empty for one that has not finished, or whose file was damaged."""
    found: Any = None
    if (file := folder / RESULT).exists():
        with suppress(ValueError):
            found = json.loads(file.read_text())
    metrics = found.get("metrics") if isinstance(found, dict) else None
    is_whole = isinstance(metrics, dict) and all(isinstance(value, int | float) for value in metrics.values())
    return found if is_whole else {}


def attempt(base: Path, *, force: bool) -> Path:
    """The newest folder of a fingerprint; with `force` a further one if the newest has finished."""
    number = 1
    while _numbered(base, number + 1).exists():
        number += 1
    newest = _numbered(base, number)
    return _numbered(base, number + 1) if force and result(newest) else newest


def driver_lock(folder: Path) -> FileLock:
    """Lock of the process that drives a run or a pipeline; a killed process loses it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "driver.lock")


def is_driven(folder: Path) -> bool:
    """Whether some living process drives this folder's run.

    To ask is to hold the lock for an instant. Whoever wants to drive waits longer than that (`START_WAIT_S`).
    """
    lock = driver_lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file; after ten minutes of waiting a `TimeoutError` says what was waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout:
        raise TimeoutError(f"waited {LOCK_WAIT_S} s for another process that holds {path} ({what})") from None
    try:
        yield
    finally:
        lock.release()


def reconcile(home: Path) -> None:
    """Mark what a killed process left RUNNING as KILLED, or as FINISHED where its result is there."""
    for kind in reversed(KINDS):
        for folder in _begun(home, kind):
            if _may_be_running(folder):
                with suppress(BadInput):  # whoever reads the damaged record next names it
                    _reconcile(kind, folder)


def _may_be_running(folder: Path) -> bool:
    """Whether the word stands in the folder's record: of all that were ever made, few are worth to be parsed."""
    return b'"RUNNING"' in (folder / RECORD).read_bytes()


def _reconcile(kind: Kind, folder: Path) -> None:
    """Mark how a folder's work has ended, unless a process drives it, or has ended it since its record was read."""
    last_event = _last_event_time(folder)
    # A trial has no driver of its own: the driver of its sweep counts.
    lock = driver_lock(folder.parents[1] if kind == "trials" else folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    try:
        record = read_record(folder)
        if record["status"] == "RUNNING":
            status: Status = "FINISHED" if kind in ("runs", "trials") and result(folder) else "KILLED"
            ended = max(record.get("started", time.time()), last_event)
            # By `died`, whoever follows the process knows that it has not brought the work to this end.
            write_record(folder, status=status, ended=ended, died=ended, **killed_nodes(record))
    finally:
        lock.release()


def killed_nodes(record: dict[str, Any]) -> dict[str, Any]:
    """The nodes of a pipeline whose driver has ended, none of them RUNNING; nothing for other records."""
    nodes = record.get("nodes", {})
    killed = {name: {**node, "status": "KILLED"} for name, node in nodes.items() if node["status"] == "RUNNING"}
    return {"nodes": {**nodes, **killed}} if killed else {}


@cache
def _warn_once(message: str) -> None:
    logging.getLogger("labs").warning("warning: %s", message)


def _read_records(home: Path, kind: Kind) -> tuple[list[tuple[Path, dict[str, Any]]], list[str]]:
    """Folders and records of one kind, and a sentence for each that can't be read."""
    found, faults = [], []
    for folder in _begun(home, kind):
        try:
            found.append((folder, read_record(folder)))
        except BadInput as error:
            faults.append(str(error))
    return found, faults


def _begun(home: Path, kind: Kind) -> Iterator[Path]:
    """The folders of one kind that have a record."""
    place = "sweeps/*/trials" if kind == "trials" else kind
    return (path.parent for path in home.glob(f"{place}/*/{RECORD}"))


def _numbered(base: Path, number: int) -> Path:
    return base if number == 1 else base.with_name(f"{base.name}-{number}")


def _last_event_time(folder: Path) -> float:
    """Unix time of the last event of the folder's run; 0 where there is none."""
    written = events.read(folder)
    return float(written[-1]["time"]) if written else 0.0
