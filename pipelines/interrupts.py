"""Ctrl-C and SIGTERM: the first asks everything to save and end, the second ends the process at once."""

import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import psutil

GRACE_S = 14.0
"""Seconds that a node has to save when it is asked to end."""
LIMIT_S = 18.0
"""Seconds after which an interrupted command ends at once: what it still waits for may be a library or a store."""
HANDLED = (signal.SIGINT, signal.SIGTERM)
_limit: threading.Timer | None = None
abandoned = threading.Event()
"""Set where a node's thread did not end in time; the interpreter's own exit would wait for that thread."""


class Interrupts:
    """While entered, Ctrl-C and SIGTERM are counted instead of raised; a second one ends the process at once.

    Whoever waits for something, such as for the nodes of a pipeline, looks at `count` and asks it to save and end.

    A thread counts, through the file that Python writes each signal's number to. The main thread may be in a library's
    own code for seconds, and two signals that come meanwhile are one to a handler in Python.
    """

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Interrupts":
        self.numbers, self.written = socket.socketpair()
        self.written.setblocking(False)
        threading.Thread(target=self._count, name="interrupts", daemon=True).start()
        self.wakeup = signal.set_wakeup_fd(self.written.fileno())
        self.before = {number: signal.signal(number, _ignore) for number in HANDLED}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self.wakeup)
        self.written.close()  # which ends the thread

    def _count(self) -> None:
        while number := self.numbers.recv(1):
            self.count += number[0] in HANDLED
            if self.count > 1:
                _say("ended at once: what was not saved is lost; the same command continues")
                end_at_once()
            _limit_the_wait()
        self.numbers.close()


def _ignore(number: int, frame: FrameType | None) -> None:
    """In place of `KeyboardInterrupt`: the thread has counted the signal already."""


def _limit_the_wait() -> None:
    global _limit
    if _limit is None:
        _limit = threading.Timer(LIMIT_S, _end_after_limit)
        _limit.daemon = True
        _limit.start()


def _end_after_limit() -> None:
    _say(f"not everything has ended {LIMIT_S:g} s after the interrupt: the same command continues")
    end_at_once()


def _say(sentence: str) -> None:
    """Below what the display has drawn."""
    with suppress(OSError):  # a terminal that is gone
        print(f"\n{sentence}", file=sys.stderr, flush=True)


def end_at_once(code: int = 130) -> NoReturn:
    """End this process without waiting for anything, and every process of a Ray that it has started."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(code)


def leave_abandoned_threads() -> None:
    """The last call of the program: if a thread was abandoned, end the process without waiting for it.

    Otherwise an interrupted command has ended within its limit, which no longer runs.

    The exit code is that of the `SystemExit` that is under way; any other exception is printed, and the code is 1.
    """
    global _limit
    if _limit is not None:
        _limit.cancel()
        _limit = None
    if not abandoned.is_set():
        return
    ending = sys.exc_info()[1]
    if not isinstance(ending, SystemExit):
        traceback.print_exc()
    code = ending.code if isinstance(ending, SystemExit) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    end_at_once(code if isinstance(code, int) else 1)
