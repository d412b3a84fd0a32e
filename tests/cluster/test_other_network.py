"""Nobody gets in: from another network, every port of Ray and MLflow on this machine refuses the connection.

Machine and network are namespaces of the kernel: the one has its own addresses, ports and processes, which end with it,
and a cable leads to the other.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MACHINE = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
CABLE = """
ip link set lo up
unshare --net sleep 600 & other=$!
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add inside type veth peer name outside netns $other
ip address add 10.99.0.1/24 dev inside
ip link set inside up
nsenter --net=/proc/$other/ns/net ip address add 10.99.0.2/24 dev outside
nsenter --net=/proc/$other/ns/net ip link set outside up
"""
LISTEN = """
import json, socket, subprocess, sys, time
import psutil
from cluster import connect

other = sys.argv[1]
interface = subprocess.Popen([sys.executable, "-m", "pipelines.cli", "ui", "--port", "5000"], stdout=subprocess.DEVNULL)
control = socket.create_server(("0.0.0.0", 0))
connect.connect(num_cpus=1)

def listening():
    found = psutil.net_connections("inet")  # of this network namespace
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}

deadline = time.monotonic() + 120
while 5000 not in listening():
    assert time.monotonic() < deadline and interface.poll() is None, "the web interface did not start"
    time.sleep(0.2)
ports = sorted(listening())
outside = [f"--net=/proc/{other}/ns/net", sys.executable, "-c", sys.argv[2], json.dumps(ports)]
answers = json.loads(subprocess.run(["nsenter", *outside], check=True, capture_output=True).stdout)
print(json.dumps({"control": control.getsockname()[1], "answers": dict(zip(map(str, ports), answers))}))
"""
ASK = """
import json, socket, sys

def ask(port):
    try:
        socket.create_connection(("10.99.0.1", port), timeout=5).close()
    except OSError as error:
        return type(error).__name__
    return "let in"

print(json.dumps([ask(port) for port in json.loads(sys.argv[1])]))
"""


def can_connect() -> bool:
    """Whether this user may make namespaces with a cable between them."""
    try:
        tried = subprocess.run([*MACHINE, "sh", "-ec", CABLE], capture_output=True, timeout=20)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_connect(), reason="needs network namespaces of its own (unshare, ip)")
def test_another_network_is_refused_by_every_port(empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [*MACHINE, "sh", "-ec", f'{CABLE}\n"$0" -c "$1" $other "$2"; exit', sys.executable, LISTEN, ASK],
        env=environment | {"LABS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    answers = found["answers"]
    assert answers.pop(str(found["control"])) == "let in"  # the cable works
    assert len(answers) > 4
    assert set(answers.values()) == {"ConnectionRefusedError"}, answers
