"""A store that is locked, slow, or can only be read: training ends well, and nothing is missing later."""

import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import pipeline
from pipelines.tracking.writer import Store
from tests.conftest import Said
from tests.faults.story import Start, each_step_once, finish

Cli = Callable[..., Said]
pytestmark = pytest.mark.slow
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")


def test_a_store_that_another_program_has_locked_holds_up_no_training(labs_cli: Cli, home: Path) -> None:
    assert labs_cli(*TRAIN).code == 0
    holder = sqlite3.connect(home / "mlflow.db", check_same_thread=False, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(8.0, holder.rollback)
    release.start()
    try:
        said = labs_cli(*TRAIN, "--seed", "1")
    finally:
        release.join()
    assert said.code == 0, said.err
    assert labs_cli("sync").code == 0
    store = Store(home, None)
    assert {run.info.status for run in store.client().search_runs([store.experiment])} == {"FINISHED"}
    assert len(store.client().search_runs([store.experiment])) == 4


@pytest.fixture
def slow_server(empty_store: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of a slow MLflow server: its `address`, and the `delay` of each answer in seconds."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "delay").write_text("0.4")
    store = shutil.copy(empty_store, folder / "mlflow.db")
    command = [sys.executable, "-m", "tests.faults.slow_server", store, str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    yield folder
    process.kill()
    process.wait()


def address(folder: Path) -> str:
    """Where the slow server answers, once it does."""
    deadline = time.monotonic() + 120
    while not (folder / "address").exists():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    return (folder / "address").read_text()


def test_a_slow_store_holds_up_neither_training_nor_the_end_of_the_command(
    slow_server: Path, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write all of it takes that server forty answers; the command waited for each of them, in silence."""
    assert labs_cli(*TRAIN, "--seed", "1").code == 0  # libraries are imported, data are there
    monkeypatch.setattr(pipeline, "MIRROR_END_S", 1.0)
    uri, started = address(slow_server), time.monotonic()
    said = labs_cli(*TRAIN, "--store", uri)
    assert time.monotonic() - started < 10
    assert said.code == 0, said.err
    assert said.err.count("warning: ") == 1, said.err
    assert f"MLflow store {uri} has not taken everything within 1 s" in " ".join(said.err.split())
    (slow_server / "delay").write_text("0")
    synced = labs_cli("sync", "--store", uri)
    assert synced.code == 0, synced.err
    store = Store(home, uri)
    found = store.client().search_runs([store.experiment])
    assert [run.info.status for run in found] == ["FINISHED"] * 4
    for run in found:
        assert each_step_once(home, run.info.run_id, uri)


def make_read_only(database: Path, *, read_only: bool) -> None:
    """Let SQLite refuse to write to a database, also for root: its header asks for a newer version to write with.

    The counter of changes beside it lets connections that are open see it.
    """
    with database.open("r+b") as file:
        header = bytearray(file.read(100))
        header[18] = 3 if read_only else header[19]
        header[24:28] = struct.pack(">I", struct.unpack(">I", header[24:28])[0] + 1)
        file.seek(0)
        file.write(header)


def test_a_store_that_becomes_read_only_is_a_warning_and_sync_completes_it(
    labs_cli: Cli, home: Path, labs_process: Start
) -> None:
    assert labs_cli(*TRAIN).code == 0
    make_read_only(home / "mlflow.db", read_only=True)
    said = labs_cli(*TRAIN, "--seed", "1")
    assert said.code == 0, said.err
    assert "attempt to write a readonly database" in " ".join(said.err.split())
    assert "Traceback" not in said.err
    make_read_only(home / "mlflow.db", read_only=False)
    code, _, err = finish(labs_process("sync"))  # the connections of this process stay read-only
    assert code == 0, err
    store = Store(home, None)
    found = store.client().search_runs([store.experiment])
    assert [run.info.status for run in found] == ["FINISHED"] * 4
