"""The run that nothing happens to."""

import json
import os
import subprocess
import sys

import pytest

from tests.faults.story import TRAIN, WAIT_S, without_times


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Metrics of the run when nothing happens to it; trained in one process, without Ray, in a home of its own."""
    command = [sys.executable, "-m", "pipelines.cli", *TRAIN, "--workers", "0"]
    environment = {**os.environ, "LABS_HOME": str(tmp_path_factory.mktemp("undisturbed"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_S, check=True)
    return without_times(json.loads(done.stdout)["metrics"])
