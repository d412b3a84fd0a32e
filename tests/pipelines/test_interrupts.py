"""Ctrl-C twice ends the process at once, also while the main thread is in a library's own code."""

import subprocess
import sys

SCRIPT = """
import ctypes, os, signal, threading, time
from pipelines.interrupts import Interrupts

def send():
    for _ in range(2):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

with Interrupts():
    threading.Thread(target=send, daemon=True).start()
    ctypes.CDLL(None).usleep.argtypes = [ctypes.c_uint]
    until = time.monotonic() + 20
    while time.monotonic() < until:
        ctypes.CDLL(None).usleep(900_000)  # blocked outside of Python: no handler of Python's runs
"""


def test_the_second_signal_ends_a_process_whose_main_thread_is_blocked() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], timeout=15)
    assert done.returncode == 130
