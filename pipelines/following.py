"""Two commands that want the same work: one drives it, the other follows it, and takes over if the first one dies."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from pipelines.home import START_WAIT_S, driver_lock, has_record, read_record
from pipelines.interrupts import Interrupts
from pipelines.reporter import Progress, Reporter

POLL_S = 0.2


@contextmanager
def driving(
    folder: Path, interrupts: Interrupts, reporter: Reporter, progress: Callable[[], AbstractContextManager[Progress]]
) -> Iterator[bool]:
    """While entered, no other process drives the folder's work, unless the view of one was interrupted.

    Args:
        folder: the folder of a pipeline or a sweep.
        interrupts: ends the view of what another process does.
        reporter: is told that there is another process.
        progress: the view.

    Yields:
        Whether the work is the caller's: False where another process has brought it to an end meanwhile, whatever end
        that is, or where the view was interrupted.
    """
    lock = driver_lock(folder)
    try:
        lock.acquire(timeout=START_WAIT_S)
        mine = True
    except Timeout:
        before = _end(folder)
        reporter.say(f"another process runs {folder.name}; following it (Ctrl-C ends only this view)")
        with progress() as view:
            while not interrupts.count and not lock.is_locked:
                view.tick()
                with suppress(Timeout):
                    lock.acquire(timeout=POLL_S)
        mine = lock.is_locked and _end(folder) == before
        if mine:
            reporter.say(f"no process runs {folder.name} any more; continuing it")
    try:
        yield mine
    finally:
        lock.release()


def _end(folder: Path) -> Any:
    """When the work has ended for the last time; None if it never has."""
    return read_record(folder).get("ended") if has_record(folder) else None
