"""How the driver asks the workers of a run to end, through files in the run's folder.

Driver and workers share nothing but the folder, or a copy of it (`replica`): they are threads, processes or machines.

| file | who makes it | what it means |
|---|---|---|
| `stop` | the driver | Save after the current epoch and end. `labs.core.run.Run` looks for it after each epoch. |
| `abort` | the driver | End at once, saved or not. `AbortListener` looks for it every second. |
| `writer.lock` | the worker of rank 0 | It is held while that worker writes to the folder. |

A command that continues a run first calls `clear`: what an earlier command asked for, or left, must not end the run.
"""

import os
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from labs.core.run import STOP
from pipelines.error_file import ERROR_FILE
from pipelines.home import RESULT, result

ABORT = "abort"
LOOK_EVERY_S = 1.0
WRITER_WAIT_S = 60.0


def ask_to_stop(folder: Path) -> None:
    """Ask a run to save after its current epoch and to end."""
    _ask(folder, STOP)


def ask_to_abort(folder: Path) -> None:
    """Ask the processes that work on a run to end at once, saved or not."""
    _ask(folder, ABORT)


def is_asked_to_abort(folder: Path) -> bool:
    """Whether `ask_to_abort` was called since the run was last cleared."""
    return (folder / ABORT).exists()


def writer_lock(folder: Path) -> FileLock:
    """The lock of the worker that writes to a run's folder; waits a minute for one that is left over."""
    return FileLock(folder / "writer.lock", timeout=WRITER_WAIT_S)


def clear(folder: Path) -> None:
    """Remove what an earlier command left in a run's folder: its error, its requests, a damaged result, and workers
    that still write.

    Ray takes seconds to end the workers of a driver that was killed. Until then they would write beside the new ones.

    Raises:
        TimeoutError: the workers of the earlier command did not end.
    """
    # Before the lock: should clearing fail, `error.txt` must not show an earlier command's error as this one's.
    (folder / ERROR_FILE).unlink(missing_ok=True)
    lock = writer_lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        ask_to_abort(folder)
        try:
            lock.acquire()
        except Timeout:
            what = f"the workers of an earlier command that still write to {folder}"
            raise TimeoutError(f"waited {WRITER_WAIT_S:g} s for {what}") from None
    lock.release()
    # `error.txt` again: workers that still wrote may have left one as they ended.
    for name in (STOP, ABORT, ERROR_FILE):
        (folder / name).unlink(missing_ok=True)
    if not result(folder):  # else a damaged file would be taken for the end of the run
        (folder / RESULT).unlink(missing_ok=True)


class AbortListener:
    """While entered, a thread ends this process as soon as the driver asks the folder's run to abort."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._listen, name="abort-listener", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join()

    def _listen(self) -> None:
        while not self.ended.wait(LOOK_EVERY_S):
            if is_asked_to_abort(self.folder):
                os._exit(1)


def _ask(folder: Path, request: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / request).touch()
