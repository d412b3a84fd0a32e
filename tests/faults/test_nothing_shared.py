"""Two machines that share nothing but the installed program: each has its own network, /tmp, home and cache folder."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.home import records, result
from tests.cluster.test_other_network import CABLE, MACHINE, can_connect
from tests.faults.seeds import FAULT_SEEDS
from tests.faults.story import without_times
from tests.forked import LabsProcess

MACHINES = f"""
{CABLE}
nsenter --net=/proc/$other/ns/net ip link set lo up
ray="$0 -m ray.scripts.scripts start --num-cpus 1 --object-store-memory 100000000"
$ray --head --node-ip-address 10.99.0.1 --port 6379 --include-dashboard=false --temp-dir "$1" >&2
nsenter --net=/proc/$other/ns/net unshare --mount sh -ec "
    mount -t tmpfs none /tmp
    mkdir /tmp/user
    HOME=/tmp/user exec $ray --address 10.99.0.1:6379 --node-ip-address 10.99.0.2" >&2
export RAY_ADDRESS=10.99.0.1:6379
"$0" -m pipelines.cli pipeline run "$2" --json
exit
"""
NODES = {
    "cnn": {"lab": "cnn", "size": "tiny", "resources": {"workers": 2}},
    "compression": {"lab": "compression", "size": "tiny", "needs": {"teacher": "cnn"}},
    "rl": {"lab": "rl", "size": "tiny"},
    "regression": {"lab": "regression", "size": "tiny", "tune": {"trials": 3}},
}


def numbers(home: Path) -> dict[str, dict[str, float]]:
    """Name of each run -> its final metrics."""
    return {run["name"]: without_times(result(folder)["metrics"]) for folder, run in records(home, "runs")}


@pytest.mark.slow
@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes minutes: make faults")
@pytest.mark.skipif(not can_connect(), reason="needs network namespaces of its own (unshare, ip)")
def test_a_pipeline_on_two_machines_that_share_nothing_learns_what_it_learns_on_one(
    empty_store: Path, home: Path, tmp_path: Path, labs_process: Callable[..., LabsProcess]
) -> None:
    """Workers on both, a node that needs another one's run, RLlib's actors, and trials."""
    there, spec = tmp_path / "there", tmp_path / "spec.yaml"
    for folder in (home, there):
        folder.mkdir()
        shutil.copy(empty_store, folder / "mlflow.db")
    spec.write_text(yaml.safe_dump({"name": "machines", "nodes": NODES}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "XDG_"))}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "LABS_HOME": str(there)}
    # Not pytest's folder: Ray puts sockets into it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        command = [*MACHINE, "--mount", "sh", "-ec", MACHINES, sys.executable, folder, str(spec)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "FINISHED"
    assert "data go there, and results come from there, through Ray" in done.stderr
    process = labs_process("pipeline", "run", str(spec))
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    assert numbers(there) == numbers(home)
