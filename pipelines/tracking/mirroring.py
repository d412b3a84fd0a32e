"""Keeps the store up to date while a pipeline or a sweep runs."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pipelines.home import has_record, read_record
from pipelines.tracking.writer import Store, StoreUnreachable, is_mirrored

MIRROR_EVERY_S = 2.0
RETRY_STORE_S = 30.0


class Mirroring:
    """While entered, a thread mirrors a pipeline or a sweep, with all its parts, into the store.

    Args:
        folder: the folder of the pipeline or of the sweep.
        store: where to.
        warn: takes one sentence, the first time that the store can't be reached.
    """

    def __init__(self, folder: Path, store: Store, warn: Callable[[str], None]) -> None:
        self.folder, self.store, self.warn = folder, store, warn
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._mirror_until_ended, name="mirror", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join(timeout=60)

    def _mirror_until_ended(self) -> None:
        warned, wait = False, MIRROR_EVERY_S
        while not self.ended.wait(wait):
            try:
                self._mirror_once()
                wait = MIRROR_EVERY_S
            except StoreUnreachable as error:
                wait = RETRY_STORE_S
                if not warned:
                    self.warn(f"warning: {error}. Training goes on; the next command, or `labs sync`, writes it.")
                    warned = True

    def _mirror_once(self) -> None:
        for folder in self._folders():
            if self.ended.is_set():
                return
            if has_record(folder) and not is_mirrored(folder, read_record(folder), self.store.name):
                self.store.sync(folder)

    def _folders(self) -> Iterator[Path]:
        """The pipeline or sweep, its nodes, and the trials of sweeps."""
        nodes = [Path(node["folder"]) for node in read_record(self.folder).get("nodes", {}).values()]
        wholes = [self.folder, *nodes]
        yield from wholes
        for whole in wholes:
            yield from sorted(whole.glob("trials/*"))
