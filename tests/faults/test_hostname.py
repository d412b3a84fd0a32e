"""Two machines whose hostname resolves to a loopback address, as Debian writes it into /etc/hosts: workers meet."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cluster.test_other_network import CABLE, MACHINE, can_connect
from tests.faults.seeds import FAULT_SEEDS

TWO_NODES = f"""
mount --bind "$1" /etc/hosts
hostname debian
{CABLE}
nsenter --net=/proc/$other/ns/net ip link set lo up
ray="$0 -m ray.scripts.scripts start --num-cpus 1 --object-store-memory 100000000"
$ray --head --node-ip-address 10.99.0.1 --port 6379 --include-dashboard=false --temp-dir "$2" >&2
nsenter --net=/proc/$other/ns/net $ray --address 10.99.0.1:6379 --node-ip-address 10.99.0.2 >&2
export RAY_ADDRESS=10.99.0.1:6379
"$0" -m pipelines.cli train regression --size tiny --workers 2 --json
exit
"""


@pytest.mark.slow
@pytest.mark.skipif(len(FAULT_SEEDS) < 10, reason="takes a minute: make faults")
@pytest.mark.skipif(not can_connect(), reason="needs network namespaces of its own (unshare, ip)")
def test_workers_on_two_machines_meet_whatever_their_hostname_resolves_to(
    empty_store: Path, home: Path, tmp_path: Path
) -> None:
    """Gloo took the hostname's address, and the other machine's worker was refused: `remote=[127.0.1.1]`."""
    home.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n127.0.1.1 debian\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "LABS_HOME": str(home)}
    command = [*MACHINE, "--uts", "--mount", "sh", "-ec", TWO_NODES, sys.executable, str(tmp_path / "hosts")]
    # Not pytest's folder: Ray puts sockets into it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        done = subprocess.run([*command, folder], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "FINISHED"
