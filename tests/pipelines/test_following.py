"""Two commands for the same work: one drives it, the other follows, and nobody follows a process that is not there."""

import errno
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from pipelines.home import driver_lock, write_record
from tests.conftest import Said

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")


def hold(folder: Path, seconds: float, before_release: Callable[[], None] = lambda: None) -> None:
    """Hold a folder's lock for some time from now on, as another process would."""
    held = threading.Event()

    def wait() -> None:
        with driver_lock(folder):
            held.set()
            time.sleep(seconds)
            before_release()

    threading.Thread(target=wait, daemon=True).start()
    held.wait()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets something else hold the pipeline's lock for some seconds when the command comes to take it."""
    from pipelines import pipeline

    def for_seconds(seconds: float) -> None:
        def opened(*arguments: Any) -> Path:
            folder = open_folder(*arguments)
            hold(folder, seconds)
            return folder

        open_folder = pipeline.open_folder
        monkeypatch.setattr(pipeline, "open_folder", opened)

    return for_seconds


def test_a_command_that_only_asks_who_drives_a_pipeline_stops_none_from_starting(
    labs_cli: Cli, held: Callable[[float], None]
) -> None:
    """`labs status` takes the lock for an instant; a run that started then followed nobody and ended with code 1."""
    held(0.2)
    said = labs_cli(*TRAIN)
    assert (said.code, said.json["status"]) == (0, "FINISHED")
    assert "following" not in said.err


def test_the_command_that_follows_a_driver_that_dies_continues_the_pipeline(
    labs_cli: Cli, held: Callable[[float], None]
) -> None:
    held(1.0)
    said = labs_cli(*TRAIN)
    assert (said.code, said.json["status"]) == (0, "FINISHED")
    assert "another process runs train-regression" in said.err
    assert "any more; continuing it" in said.err


def test_the_command_that_follows_continues_though_another_one_noted_first_that_the_driver_died(
    labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`labs status` marked the work KILLED between two looks at the lock, and the command ended with code 130."""
    from pipelines import home as home_module
    from pipelines import pipeline

    def opened(*arguments: Any) -> Path:
        folder = open_folder(*arguments)
        write_record(folder, status="RUNNING", started=time.time())
        hold(folder, 1.0, before_release)
        return folder

    def before_release() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(home_module, "driver_lock", lambda folder: FileLock(folder / "other.lock"))
            home_module.reconcile(home)

    open_folder = pipeline.open_folder
    monkeypatch.setattr(pipeline, "open_folder", opened)
    said = labs_cli(*TRAIN)
    assert (said.code, said.json["status"]) == (0, "FINISHED"), said.err
    assert "any more; continuing it" in said.err


def test_a_view_that_is_interrupted_when_the_driver_ends_tells_that_end(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130, where the pipeline had just finished, or failed."""
    from pipelines import pipeline
    from pipelines.show import display

    def opened(*arguments: Any) -> Path:
        folder = open_folder(*arguments)
        hold(folder, 1.0)
        return folder

    def tick(view: Any) -> None:
        write_record(view.folder, status="FAILED", ended=time.time())
        os.kill(os.getpid(), signal.SIGINT)

    open_folder = pipeline.open_folder
    monkeypatch.setattr(pipeline, "open_folder", opened)
    monkeypatch.setattr(display.Progress, "tick", tick)
    said = labs_cli(*TRAIN)
    assert (said.code, "pipeline train-regression: FAILED" in said.err) == (1, True), said.err


def test_a_sweep_is_followed_and_continued_as_well(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`labs tune` refused a sweep that another process worked on."""
    from pipelines import pipeline
    from pipelines.tuning import command

    def sweep_of(*arguments: Any, **more: Any) -> Any:
        sweep = made(*arguments, **more)
        sweep.create_record()
        hold(sweep.folder, 1.0)
        return sweep

    def conduct(sweep: Any, *arguments: Any) -> str:
        write_record(sweep.folder, status="FINISHED", ended=time.time())
        return "FINISHED"

    made = command.Sweep
    monkeypatch.setattr(command, "Sweep", sweep_of)
    monkeypatch.setattr(command, "conduct", conduct)
    monkeypatch.setattr(pipeline.connect, "connect", lambda: None)
    monkeypatch.setattr(pipeline.shared_home, "serve_nodes_without_it", lambda home, say: None)
    said = labs_cli("tune", "regression", "--size", "tiny", "--trials", "1", "--json")
    assert (said.code, said.json["status"]) == (0, "FINISHED"), said.err
    assert "another process runs regression-simple-tiny" in said.err


def test_a_home_without_file_locks_is_refused(labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of files that are only there would outlive the process that made them."""

    def missing(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", missing)
    said = labs_cli(*TRAIN)
    assert said.code == 2
    assert said.err.splitlines()[-1] == (
        f"error: home folder {home} is on a file system without file locks (No locks available): "
        "mount it with locks, or choose another folder (--home, LABS_HOME)"
    )


def test_a_pipeline_that_ends_while_its_record_is_read_stays_finished(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`labs status` read RUNNING, the driver ended, and what had finished was marked KILLED."""
    from pipelines import home as home_module

    assert labs_cli(*TRAIN).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(home_module, "_may_be_running", lambda folder: True)
        labs_cli("status")
    assert labs_cli("status", "--json").json["status"] == "FINISHED"
