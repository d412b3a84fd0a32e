"""`error.txt` in a run's folder: the error that ended the run, with its traceback.

Whoever sees the error first writes the file, a worker or the driver; the driver reads its first line.
"""

import re
import traceback
from pathlib import Path

from labs.core import events

ERROR_FILE = "error.txt"
OUT_OF_MEMORY = re.compile(r"Memory on the node \(IP: ([^,]+),.* was ([\d.]+)GB used / ([\d.]+)GB limit")
"""The line of numbers in what Ray says, on a hundred lines, where its memory monitor has killed a process."""


def write_error(folder: Path, error: BaseException) -> None:
    """Write the error's class and message, an empty line and the traceback."""
    trace = "".join(traceback.format_exception(error))
    events.write_text(folder / ERROR_FILE, f"{first_line(error)}\n\n{trace}")


def has_error(folder: Path) -> bool:
    """Whether somebody has written an error."""
    return (folder / ERROR_FILE).exists()


def read_error(folder: Path, otherwise: str) -> str:
    """Class and message of the error; `otherwise` where nobody wrote one."""
    return (folder / ERROR_FILE).read_text().split("\n")[0] if has_error(folder) else otherwise


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Ray's memory monitor has ended a process."""
    return OUT_OF_MEMORY.search(str(error)) is not None


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message, without the colours that Ray adds.

    After a first line that only announces ("Training failed due to controller error:") comes the last one, which is
    where a traceback in the message has its error. SQLAlchemy's remark on when it wrote comes before the error, too.
    """
    if found := OUT_OF_MEMORY.search(str(error)):
        node, used, limit = found.groups()
        return (
            f"{type(error).__name__}: node {node} ran out of memory ({used} of {limit} GB used), so Ray ended "
            "processes there: take a smaller batch or network, run less on it at a time, or give it more memory"
        )
    text = re.sub(r"\x1b\[[0-9;]*m|^\(raised as a result of Query-invoked autoflush.*", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    message = f"{lines[0]} {lines[-1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    return f"{type(error).__name__}: {message}"
