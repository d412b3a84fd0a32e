"""The run that nothing happens to."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import new_home, said
from tests.faults.story import TRAIN, without_times


@pytest.fixture(scope="session")
def undisturbed(session_folder: Path, data_home: Path, empty_store: Path) -> dict[str, float]:
    """Metrics of the run when nothing happens to it; trained once, without Ray, in a home of its own."""
    home = session_folder / "undisturbed"
    with FileLock(f"{home}.lock"):
        if not home.exists():
            new_home(home, data_home, empty_store)
        done = said(*TRAIN, "--workers", "0", "--home", home)  # the session's other process finds it finished
    assert done.code == 0, done.err
    return without_times(done.json["metrics"])
