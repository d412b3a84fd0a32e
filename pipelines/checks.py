"""Checks of `labs doctor` that know the home folder and the store."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from cluster.doctor.finding import Finding, Look, refused
from labs.core.errors import BadInput
from pipelines import shared_home
from pipelines.home import cache_folder, find_home
from pipelines.tracking.connection import MAKE_S
from pipelines.tracking.store_uri import sqlite_file

FREE_GB = 2.0
"""Checkpoints and figures of many runs: of one run of cnn at size tiny, 8 MB."""
PROBE_BYTES = 2**20
STORE_S = MAKE_S + 15
"""Seconds for the check of the store, the import of MLflow included; a store has limits of its own."""
OTHER = "make room, or name a folder that can be written (--home, LABS_HOME)"


def home(given: Path | None) -> Finding:
    """Whether the home folder can be written, has locks, and has room."""
    try:
        return _room(find_home(given))
    except BadInput as error:
        return refused(error)


def store(home: Path | None, uri: str | None) -> Finding:
    """Whether the store answers, takes runs, and is of a version that has what is needed."""
    from pipelines.tracking.writer import Store, StoreUnreachable

    try:
        found = Store(find_home(home), uri)
        if (file := sqlite_file(found.uri)) and not file.exists():
            return Finding("ok", f"{found.shown_uri}: the first run makes it")
        found.open()
    except BadInput as error:
        return refused(error)
    except StoreUnreachable as error:
        return Finding("broken", str(error), "start it, or correct its address (--store, MLFLOW_TRACKING_URI)")
    return Finding("ok", f"{found.shown_uri} answers, experiment {found.experiment_name}")


@contextmanager
def seen_by_nodes(home: Path | None) -> Iterator[dict[str, Look]]:
    """While entered, a file in the home is locked, and the check of each node asks for both.

    Without a home that works, there is nothing to ask the nodes for.
    """
    if home is None:
        yield {}
        return
    sign = home / f"seen-{uuid.uuid4().hex}"
    lock = FileLock(sign)
    lock.acquire(timeout=0)
    try:
        yield {"home": partial(on_node, home, sign)}
    finally:
        lock.release()
        sign.unlink(missing_ok=True)


def on_node(home: Path, sign: Path) -> Finding:
    """What a node makes of the home folder: where it sees a file there, it must also find it locked."""
    if not shared_home.sees(sign):
        found = _room(cache_folder())
        return replace(found, found=f"{home} is not there, so data and results go through Ray; cache: {found.found}")
    try:
        FileLock(sign).acquire(timeout=0)
    except Timeout:
        return _room(home)
    return Finding(
        "broken",
        f"a lock in {home} does not hold on this node",
        "mount it with locks: NFS without nolock or local_lock",
    )


def _room(folder: Path) -> Finding:
    """Whether a folder can be written and has room."""
    probe = folder / f"probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return Finding("broken", f"{folder} can't be written: {error.strerror}", OTHER)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    if free < FREE_GB:
        return Finding("warning", f"{folder} has {free:.1f} GB free, {FREE_GB:g} GB are advised", OTHER)
    return Finding("ok", f"{folder}, {free:.1f} GB free")
