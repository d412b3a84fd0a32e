"""A store that is locked by another program, or can only be read: training ends well, and nothing is missing later."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.tracking.writer import Store
from tests.conftest import Said

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
