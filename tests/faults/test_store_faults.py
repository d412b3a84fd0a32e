"""A store that is locked, slow, or can only be read: training ends well, and nothing is missing later."""

import sqlite3
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.tracking.writer import Store
from tests.conftest import Said
from tests.faults.story import Start, finish

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
    assert len(store.client().search_runs([store.experiment])) == 2


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
    assert [run.info.status for run in found] == ["FINISHED"] * 2
