"""Ctrl-C and SIGTERM: the first asks everything to save and end, the second ends the process at once."""

import os
import signal
from contextlib import suppress
from types import FrameType

import psutil

GRACE_S = 14.0
"""Seconds that a node has to save when it is asked to end."""


class Interrupts:
    """While entered, Ctrl-C and SIGTERM are counted instead of raised; a second one ends the process at once.

    Tasks, such as the nodes of a pipeline, look at `count` and ask what they wait for to save and end.
    """

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Interrupts":
        self.before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            end_at_once()


def end_at_once() -> None:
    """Leave without waiting, and leave no process of a Ray that this one has started."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(130)
