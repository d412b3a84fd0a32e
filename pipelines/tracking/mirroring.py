"""Keeps the store up to date while a pipeline or a sweep runs."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labs.core import events
from labs.core.errors import BadInput
from pipelines.home import RECORD, has_record, read_record
from pipelines.system_load import SYSTEM
from pipelines.tracking.mirror import CLOSED
from pipelines.tracking.writer import NotMirrored, Store, StoreUnreachable, is_mirrored

MIRROR_EVERY_S = 2.0
START_LOOK_S = 0.5
RETRY_S = 30.0
"""Seconds until a store that was down, or a folder that could not be written, is tried again."""
BEGIN_S, END_WAIT_S = 10.0, 10.0
"""Seconds that the training's start and its end wait for what is being written."""
FILES = (RECORD, events.FILE, f"{SYSTEM}/{events.FILE}", "checkpoints")
"""What a mirror is made of while a run trains: see `snapshot.final_events`."""
LATER = "Training goes on; the next command, or `labs sync`, writes it."


class Mirroring:
    """While entered, a thread mirrors a pipeline or a sweep, with all its parts, into the store.

    Whatever goes wrong with the store while a run trains is a warning, given once, and never ends the run. Into a store
    of the user's own choice it writes at once, and the training waits for that: what is wrong there, as a user who may
    only read, is said before hours of training. The home's own file has nobody who could refuse it, and opening it
    takes seconds, so it waits until something trains.

    Args:
        folder: the folder of the pipeline or of the sweep.
        store: where to.
        warn: takes one sentence.
    """

    def __init__(self, folder: Path, store: Store, warn: Callable[[str], None]) -> None:
        self.folder, self.store, self.warn = folder, store, warn
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._mirror_until_ended, name="mirror", daemon=True)
        self.begun = threading.Event()
        self.wait = MIRROR_EVERY_S
        self.is_tried = store.is_own
        """Whether the store is known to take what is written to it."""
        self.warned: set[str] = set()
        self.retry_at: dict[Path, float] = {}
        """For a folder that could not be written, when to try again."""
        self.mirrored: dict[Path, tuple[int, ...]] = {}
        """What was mirrored of a folder, by the times of its files: one of a thousand is looked at, not read."""

    def __enter__(self) -> None:
        """Start; `BadInput` if a package is missing that the store needs."""
        is_open = not self.store.is_own and self._open()
        self.thread.start()
        if is_open:
            self.begun.wait(BEGIN_S)

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join(END_WAIT_S)

    def _open(self) -> bool:
        """Open the store, which is then written at once; False where it can't be written now."""
        try:
            self.store.open()
        except StoreUnreachable as error:
            self._warn("store", str(error))
            self.wait = RETRY_S
            return False
        if self.store.files_fault:
            self._warn("files", self.store.files_fault)
        self.wait = 0.0
        return True

    def _mirror_until_ended(self) -> None:
        while self.store.is_own and not self._anything_trains() and not self.ended.wait(START_LOOK_S):
            pass
        while not self.ended.wait(self.wait):
            try:
                self._mirror_once()
                self.wait = MIRROR_EVERY_S
            except StoreUnreachable as error:
                self._warn("store", str(error))
                self.wait = RETRY_S
            except Exception as error:  # a thread that died here would leave the rest of the training unseen
                self._warn("mirror", f"the mirror in MLflow stands still: {self.store.reason(error)}")
                self.wait = RETRY_S
            self.begun.set()

    def _anything_trains(self) -> bool:
        """Whether a worker has begun with a run, in this command or before; each begins with that file."""
        return any((folder / "config.json").exists() for folder in self._folders())

    def _mirror_once(self) -> None:
        if not self.is_tried:
            self.store.write_once()
            self.is_tried = True
        for folder in self._folders():
            if self.ended.is_set():
                return
            files = _times(folder)
            if files == self.mirrored.get(folder) or time.monotonic() < self.retry_at.get(folder, 0.0):
                continue
            try:
                if self._sync(folder):
                    self.mirrored[folder] = files
            except (NotMirrored, BadInput) as error:
                self._warn(str(folder), str(error))
                self.retry_at[folder] = time.monotonic() + RETRY_S

    def _sync(self, folder: Path) -> bool:
        """Mirror one folder; False where something has to wait although the folder does not change: a model."""
        if not has_record(folder):
            return True
        record = read_record(folder)
        if not is_mirrored(folder, record, self.store.name):
            self.store.sync(folder)
        return record["status"] not in CLOSED or is_mirrored(folder, record, self.store.name)

    def _warn(self, about: str, message: str) -> None:
        if about not in self.warned:
            self.warned.add(about)
            self.warn(f"warning: {message}. {LATER}")

    def _folders(self) -> Iterator[Path]:
        """The pipeline or sweep, its nodes, and the trials of sweeps."""
        nodes = read_record(self.folder).get("nodes", {}).values()
        yield from (self.folder, *(Path(node["folder"]) for node in nodes))
        for sweep in (self.folder, *(Path(node["folder"]) for node in nodes if node.get("unit") == "trial")):
            yield from sorted(sweep.glob("trials/*"))


def _times(folder: Path) -> tuple[int, ...]:
    """When what is mirrored of a folder was last written; 0 for what is not there."""
    return tuple(_time(f"{folder}/{name}") for name in FILES)


def _time(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
