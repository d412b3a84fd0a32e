"""Ctrl-C twice ends the process at once, also while the main thread is in a library's own code; once, in time."""

import subprocess
import sys

SCRIPT = """
import ctypes, os, signal, threading, time
from pipelines import interrupts
from pipelines.interrupts import Interrupts

interrupts.LIMIT_S = LIMIT

def send():
    for _ in range(SIGNALS):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

with Interrupts():
    threading.Thread(target=send, daemon=True).start()
    ctypes.CDLL(None).usleep.argtypes = [ctypes.c_uint]
    until = time.monotonic() + 20
    while time.monotonic() < until:
        ctypes.CDLL(None).usleep(900_000)  # blocked outside of Python: no handler of Python's runs
"""


def interrupted(signals: int, limit_s: float) -> "subprocess.CompletedProcess[str]":
    script = SCRIPT.replace("SIGNALS", str(signals)).replace("LIMIT\n", f"{limit_s}\n")
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=15)


def test_the_second_signal_ends_a_process_whose_main_thread_is_blocked() -> None:
    done = interrupted(2, limit_s=18)
    assert done.returncode == 130
    assert "the same command continues" in done.stderr


def test_one_signal_ends_a_process_that_waits_for_a_library_after_a_limit() -> None:
    """A sweep whose processes were just being started, on a busy machine, took 40 s."""
    done = interrupted(1, limit_s=0.5)
    assert done.returncode == 130
    assert "the same command continues" in done.stderr
