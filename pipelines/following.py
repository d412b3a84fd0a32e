"""Two commands that want the same work: one drives it, the other follows it, and takes over if the first one dies."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from pipelines.home import START_WAIT_S, driver_lock, has_record, read_record
from pipelines.interrupts import Interrupts
from pipelines.reporter import Progress, Reporter

POLL_S = 0.2
Part = Literal["drive", "ended", "left"]
"""What is left for a command: to do the work; to tell how another process has ended it; nothing, as it was interrupted
while the other process still works."""


@contextmanager
def driving(
    folder: Path, interrupts: Interrupts, reporter: Reporter, progress: Callable[[], AbstractContextManager[Progress]]
) -> Iterator[Part]:
    """While entered, no other process drives the folder's work, unless the view of one was interrupted.

    Args:
        folder: the folder of a pipeline or a sweep.
        interrupts: ends the view of what another process does.
        reporter: is told that there is another process.
        progress: the view.

    Yields:
        The caller's part. Another process has ended the work whatever end that is, and also where the view was
        interrupted in that moment.
    """
    lock = driver_lock(folder)
    try:
        lock.acquire(timeout=START_WAIT_S)
        part: Part = "drive"
    except Timeout:
        before = _end(folder)
        reporter.say(f"another process runs {folder.name}; following it (Ctrl-C ends only this view)")
        with progress() as view:
            while not interrupts.count and not lock.is_locked:
                view.tick()
                with suppress(Timeout):
                    lock.acquire(timeout=POLL_S)
        part = "ended" if _end(folder) != before else "drive" if lock.is_locked else "left"
        if part == "drive":
            reporter.say(f"no process runs {folder.name} any more; continuing it")
    try:
        yield part
    finally:
        lock.release()


def _end(folder: Path) -> Any:
    """When a process has last brought the work to an end; None if none has, or it died since and others noted that."""
    record = read_record(folder) if has_record(folder) else {}
    return record.get("ended") if record.get("ended") != record.get("died") else None
