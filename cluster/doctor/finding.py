"""What a check has found, and a check within its time limit."""

from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Literal

from cluster.errors import ClusterError
from cluster.waiting import in_thread


@dataclass(frozen=True)
class Finding:
    """What was found, and in one sentence what to do about it."""

    status: Literal["ok", "warning", "broken"]
    found: str
    remedy: str = ""


Look = Callable[[], Finding]


def examine(look: Look, limit_s: float) -> Finding:
    """What a check finds; a check that fails, or does not end in time, is broken itself and hides no other one.

    A network's file system or a GPU's driver may never answer.
    """
    answer = in_thread(look)
    if not wait([answer], limit_s).done:
        return Finding(
            "broken",
            f"this check has not ended within {limit_s:g} s",
            "look for a file system, a driver or a server that does not answer",
        )
    try:
        return answer.result()
    except ClusterError as error:
        return refused(error)
    except Exception as error:  # a strange machine must not hide what else is wrong with it
        return Finding("broken", f"this can't be looked at ({error})", "correct what the error names")


def refused(error: Exception) -> Finding:
    """A command's own error: its sentence says what was found and, after the last colon, what to do."""
    found, _, remedy = str(error).rpartition(": ")
    return Finding("broken", found or remedy, remedy if found else "")
