"""The requests between the driver and the workers of a run, which share a folder and nothing else."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labs.core.run import STOP
from pipelines import execution, requests
from pipelines.error_file import has_error, write_error
from pipelines.home import driver_lock

WRITER = """
import sys, threading
from pathlib import Path
from pipelines.requests import AbortListener, writer_lock

folder = Path(sys.argv[1])
with writer_lock(folder), AbortListener(folder):
    print("writes", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes to the run's folder, and goes on for ever."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writes\n"
    yield process
    process.kill()
    process.wait()


def test_what_an_earlier_command_asked_for_or_left_is_cleared(tmp_path: Path) -> None:
    requests.ask_to_stop(tmp_path)
    requests.ask_to_abort(tmp_path)
    write_error(tmp_path, ValueError("an old one"))
    assert (tmp_path / STOP).exists()
    assert requests.is_asked_to_abort(tmp_path)
    requests.clear(tmp_path)
    assert not (tmp_path / STOP).exists()
    assert not requests.is_asked_to_abort(tmp_path)
    assert not has_error(tmp_path)


def test_a_folder_that_is_not_there_yet_can_be_asked_and_cleared(tmp_path: Path) -> None:
    requests.ask_to_stop(tmp_path / "new" / "run")
    requests.clear(tmp_path / "new" / "run")
    assert not (tmp_path / "new" / "run" / STOP).exists()


def test_workers_that_outlive_their_driver_are_ended_before_the_next_command_writes(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    requests.clear(tmp_path)
    assert writer.wait(timeout=10) == 1
    assert not requests.is_asked_to_abort(tmp_path)


def test_workers_that_do_not_end_are_named(
    tmp_path: Path, writer: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "WRITER_WAIT_S", 0.5)
    monkeypatch.setattr(requests, "ask_to_abort", lambda folder: None)
    with pytest.raises(TimeoutError, match=r"waited 0\.5 s for the workers of an earlier command that still write to "):
        requests.clear(tmp_path)


@pytest.mark.parametrize(("workers", "aborted"), [(1, True), (0, False)])
def test_a_node_that_is_late_is_aborted_unless_it_is_a_thread_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, aborted: bool
) -> None:
    """To abort a bare run would end the driver, and all its other nodes."""
    monkeypatch.setattr(execution, "GRACE_S", -1.0)
    planned: Any = SimpleNamespace(
        folder=tmp_path, job=SimpleNamespace(workers=workers), node=SimpleNamespace(time_limit=1e-9)
    )
    late = execution.NodeExecution(planned, tmp_path)
    late.started = time.monotonic()
    while not late.over_time:
        late.enforce_time_limit()
    assert (tmp_path / STOP).exists()
    assert requests.is_asked_to_abort(tmp_path) == aborted


def test_the_wait_for_another_process_does_not_count_against_the_time_limit(tmp_path: Path) -> None:
    planned: Any = SimpleNamespace(folder=tmp_path, node=SimpleNamespace(time_limit=1e-9))
    with driver_lock(tmp_path):
        waiting = execution.NodeExecution(planned, tmp_path)
        thread = threading.Thread(target=waiting.run)
        thread.start()
        time.sleep(0.1)
        waiting.enforce_time_limit()
        over_time = waiting.over_time
        waiting.ask_to_stop()
        thread.join()
    assert not over_time


@pytest.mark.parametrize("earlier", [False, True])
def test_the_wait_for_workers_does_not_count_against_the_time_limit(tmp_path: Path, earlier: bool) -> None:
    """A node that found the cluster full of other users' jobs had used up its time before it began."""
    config, limit = tmp_path / "config.json", SimpleNamespace(time_limit=1e-9)
    if earlier:  # of a command before this one
        config.touch()
    planned: Any = SimpleNamespace(folder=tmp_path, job=SimpleNamespace(workers=1), node=limit)
    waiting = execution.NodeExecution(planned, tmp_path)
    waiting.begin()
    for _ in range(3):
        waiting.enforce_time_limit()
    assert not waiting.over_time
    config.unlink(missing_ok=True)
    config.write_text("{}")
    for _ in range(3):
        waiting.enforce_time_limit()
    assert waiting.over_time
