"""The run that nothing happens to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.faults.story import TRAIN, WAIT_S, without_times


@pytest.fixture(scope="session")
def undisturbed(session_folder: Path) -> dict[str, float]:
    """Metrics of the run when nothing happens to it; trained once, without Ray, in a home of its own."""
    home = session_folder / "undisturbed"
    command = [sys.executable, "-m", "pipelines.cli", *TRAIN, "--workers", "0", "--home", str(home)]
    with FileLock(f"{home}.lock"):  # the session's other process finds it finished
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
    return without_times(json.loads(done.stdout)["metrics"])
