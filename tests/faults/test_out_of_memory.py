"""A node whose memory runs out: the run that is ended for it is tried again, and its error says what to do.

How much memory a container has and uses, the kernel tells in files; here they are files of the test.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.namespace import NAMESPACE, can_mount
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import WAIT_S, epochs_done

pytestmark = pytest.mark.slow
LIMIT = 8 * 2**30
SPEC = """
name: memory
nodes:
  large: {lab: regression, preset: strong, size: tiny, retries: 1, overrides: {epochs: 100000, patience: 100000}}
  small: {lab: regression, size: tiny, resources: {workers: 0}}
"""


class Memory:
    """The files in which a process finds how much memory its container may use, and uses."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "memory.max").write_text(str(LIMIT))
        (folder / "memory.stat").write_text("inactive_file 0\nactive_file 0\n")
        self.use(0.2)

    def use(self, share: float) -> None:
        """Let so much of it be used."""
        part = self.folder / "part"
        part.write_text(str(int(share * LIMIT)))
        part.rename(self.folder / "memory.current")


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "cgroup")


@pytest.fixture
def process(memory: Memory, home: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The pipeline, on a Ray of its own."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "pipelines.cli", "pipeline", "run", str(tmp_path / "spec.yaml"), "--json"]
    mounted = f'mount --bind {memory.folder} /sys/fs/cgroup && exec "$@"'
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    started = subprocess.Popen(
        [*NAMESPACE, "sh", "-c", mounted, "sh", *command],
        env=environment | {"LABS_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    if started.poll() is None:
        for child in psutil.Process(started.pid).children(recursive=True):
            child.kill()
        started.kill()


def worker_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    """The Ray Train worker that lives now."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                return child
        except psutil.Error:
            pass
    return None


@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes half a minute: make faults")
@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own (unshare)")
def test_a_run_whose_node_runs_out_of_memory_is_tried_again_and_says_what_to_do(
    memory: Memory, process: subprocess.Popen[str], home: Path
) -> None:
    """Its error was a page of Ray's advice, and it was not tried again: Ray had ended helpers of the run as well."""
    killed, deadline = set(), time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        worker = worker_of(process)
        full = worker is not None and (worker.pid in killed or epochs_done(home, "regression-strong") > 0)
        memory.use(0.99 if full else 0.2)
        if worker and full:
            killed.add(worker.pid)
        time.sleep(0.1)
    out, err = process.communicate(timeout=WAIT_S)
    code, document = process.returncode, json.loads(out)
    assert code == 1, err
    large, small = sorted(document["nodes"], key=lambda node: str(node["name"]))
    assert (large["status"], small["status"]) == ("FAILED", "FINISHED")
    assert "ran out of memory (7.92 of 8.00 GB used), so Ray ended processes there: take a smaller" in large["error"]
    assert len(large["error"]) < 300
    assert len(killed) == 2
