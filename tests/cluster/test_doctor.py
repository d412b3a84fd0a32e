"""`labs doctor`: each fault of a machine, of a node, of the home folder or of the store has its line and its remedy."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import environment
from cluster.doctor import gpus, machine, nodes
from pipelines import checks, shared_home
from pipelines.commands import doctor as command
from tests.conftest import Said
from tests.faults.namespace import NAMESPACE, can_mount

ROOT = Path(__file__).parents[2]
Row = dict[str, str]
ENVIRONMENT = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR", "TMPDIR", "MLFLOW_TRACKING_URI")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def doctor(
    labs_cli: Callable[..., Said], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, dict[str, Row]]]:
    """Exit code and rows of `labs doctor`, by check, or by node and check, for a user of whom nothing is set."""
    (home / "mlflow.db").unlink()  # of the store that a first run makes, nothing is opened
    for name in (*ENVIRONMENT, *PROXIES, *(name.upper() for name in PROXIES)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments: str) -> tuple[int, dict[str, Row]]:
        said = labs_cli("doctor", "--json", *arguments)
        return said.code, {
            "/".join(filter(None, ("node" if row["node"] else "", row["check"]))): row for row in said.json
        }

    return run


Doctor = Callable[..., tuple[int, dict[str, Row]]]


def test_a_machine_without_faults_is_ok_in_every_check(doctor: Doctor) -> None:
    code, rows = doctor()
    may_vary = {"packages", "ports", "memory", "shared memory", "home"}  # of the machine that runs the tests
    assert {name: row for name, row in rows.items() if row["status"] != "ok" and name not in may_vary} == {}
    assert code == int(any(row["status"] == "broken" for row in rows.values()))
    assert {"python", "token", "cpus", "limits", "temporary folder", "proxies", "gpus", "store"} < rows.keys()


def test_the_screen_has_a_line_for_each_check_and_its_remedy(
    doctor: Doctor, labs_cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "FILES", 10**9)
    said = labs_cli("doctor")
    (line,) = (line for line in said.out.splitlines() if line.startswith("broken"))
    assert said.code == 1
    assert line.startswith("broken   limits: Ray opens up to 1000000000 files, the limit is ")
    assert line.endswith(": raise it, as by ulimit -n 1000000000")


def test_a_temporary_folder_that_is_too_long_for_sockets_is_named(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    row = doctor()[1]["temporary folder"]
    assert row["status"] == "warning"
    assert str(long) in row["found"]
    assert "--temp-dir" in row["remedy"]


def test_a_token_that_others_can_read_is_broken_until_it_is_closed(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("a" * 64)
    file.chmod(0o644)
    code, rows = doctor()
    assert (code, rows["token"]["status"], rows["token"]["remedy"]) == (1, "broken", f"chmod 600 {file}")
    file.chmod(0o600)
    assert doctor()[1]["token"]["status"] == "ok"


def test_a_token_path_to_nothing_is_broken(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    row = doctor()[1]["token"]
    assert (row["status"], row["remedy"]) == ("broken", "correct it, or unset it")


def test_a_check_that_hangs_is_left_alone(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pipe = tmp_path / "token"
    os.mkfifo(pipe)  # who opens it waits for somebody who writes
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(pipe))
    monkeypatch.setattr(command, "CHECK_S", 1.0)
    code, rows = doctor()
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    assert (code, rows["token"]["status"]) == (1, "broken")
    assert rows["token"]["found"] == "this check has not ended within 1 s"
    assert rows["limits"]["status"] == "ok"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Has Python find a package in another version first."""

    def pretend(name: str, version: str) -> None:
        folder = tmp_path / "packages" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(folder.parent))

    return pretend


def test_a_package_outside_its_range_is_broken(doctor: Doctor, installed: Callable[[str, str], None]) -> None:
    installed("torch", "1.0")
    code, rows = doctor()
    assert (code, rows["packages"]["status"]) == (1, "broken")
    assert rows["packages"]["found"] == "torch 1.0 (<2.15,>=2.9 is needed)"


def test_a_package_that_the_tests_did_not_have_is_a_warning(
    doctor: Doctor, installed: Callable[[str, str], None]
) -> None:
    installed("rich", "15.99")
    row = doctor()[1]["packages"]
    assert row["status"] == "warning"
    assert "rich 15.99 (==" in row["found"]


def test_a_proxy_that_would_catch_loopback_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    row = doctor()[1]["proxies"]
    assert row["status"] == "warning"
    assert "NO_PROXY=127.0.0.1,localhost" in row["remedy"]
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert doctor()[1]["proxies"]["status"] == "ok"


def test_too_little_memory_is_said(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant in ("MEMORY_GB", "SHARED_MEMORY_GB"):
        monkeypatch.setattr(machine, constant, 2.0**20)
    rows = doctor()[1]
    for row in (rows["memory"], rows["shared memory"]):
        assert row["status"] != "ok"
        assert "free" in row["found"]
        assert "more" in row["remedy"]


FOLDERS = """
mount -t tmpfs -o size=64k none "$1" && mkdir "$1/home" && LABS_HOME="$1/home" "$2" -m pipelines.cli doctor --json
mount -o remount,ro "$1" && LABS_HOME="$1/home" "$2" -m pipelines.cli doctor --json
"""


@pytest.mark.skipif(not can_mount(), reason="needs a mount namespace of its own (unshare)")
def test_a_home_that_is_full_or_read_only_is_broken(tmp_path: Path) -> None:
    """Found in a process that could not import PyTorch."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise RuntimeError('imported')")
    disk = tmp_path / "disk"
    disk.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    said = subprocess.run(
        [*NAMESPACE, "sh", "-c", FOLDERS, "sh", str(disk), sys.executable],
        cwd=ROOT,
        env=variables | {"PYTHONPATH": f"{blocked}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert said.returncode == 1
    for fault in ("No space left on device", "Read-only file system"):
        assert f"{disk}/home can't be written: {fault}" in said.stdout


class OldServer(BaseHTTPRequestHandler):
    """An MLflow server of version 2, as far as the question for its version goes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"2.9.2")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def old_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), OldServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_store_that_does_not_answer_or_is_too_old_is_broken(doctor: Doctor, old_server: str) -> None:
    code, rows = doctor("--store", "http://user:secret@127.0.0.1:1")
    assert (code, rows["store"]["status"]) == (1, "broken")
    assert "secret" not in str(rows)
    assert "no server answers" in rows["store"]["found"]
    assert "MLflow 2.9.2; version 3 or a newer one is needed" in doctor("--store", old_server)[1]["store"]["found"]


TORCH = """
from types import SimpleNamespace
version = SimpleNamespace(cuda={cuda!r})
cuda = SimpleNamespace(is_available=lambda: {usable}, device_count=lambda: 1)
cuda.nccl = SimpleNamespace(version=lambda: (2, 29))
ones = lambda *_, **__: SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 2.0))
distributed = SimpleNamespace(is_available=lambda: True, is_nccl_available=lambda: {nccl})
"""


@pytest.mark.parametrize(
    ("cuda", "usable", "nccl", "status", "found"),
    [
        ("13.0", True, True, "ok", "PyTorch for CUDA 13.0 with NCCL 2.29 uses 1"),
        ("13.0", False, True, "broken", "PyTorch for CUDA 13.0 can't use them"),
        (None, False, False, "broken", "the installed PyTorch is for CPUs alone"),
        ("13.0", True, False, "warning", "no NCCL, which several workers need"),
    ],
)
def test_gpus_are_judged_by_what_pytorch_can_do_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cuda: str, usable: bool, nccl: bool, status: str, found: str
) -> None:
    (tmp_path / "torch.py").write_text(TORCH.format(cuda=cuda, usable=usable, nccl=nccl))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetName=lambda _: "NVIDIA H100",
        nvmlSystemGetCudaDriverVersion_v2=lambda: 12080,
        nvmlSystemGetDriverVersion=lambda: "570.1",
        NVMLError=RuntimeError,
    )
    monkeypatch.setattr(gpus, "pynvml", driver)
    finding = gpus.gpus()
    assert (finding.status, finding.found) == (status, f"1 x NVIDIA H100, driver 570.1 for CUDA 12.8; {found}")


@pytest.fixture
def cluster_doctor(ray_session: None, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    import ray

    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    return doctor


def test_every_node_of_a_cluster_is_looked_at(cluster_doctor: Doctor, home: Path) -> None:
    rows = cluster_doctor()[1]
    assert rows["cluster"]["found"] == "1 node, 2 CPUs"
    assert rows["node/home"]["found"].startswith(f"{home}, ")
    for check in ("node", "versions", "clock", "limits", "python"):
        assert rows[f"node/{check}"]["status"] == "ok"
    assert list(home.glob("seen-*")) == []


def test_a_node_without_the_home_needs_a_cache_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_home, "SEEN_WITHIN_S", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    blind = checks.on_node(tmp_path, tmp_path / "absent")
    assert blind.status != "broken"
    assert f"data and results go through Ray; cache: {tmp_path}/labs" in blind.found
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert checks.on_node(tmp_path, tmp_path / "absent").status == "broken"


def test_a_home_whose_locks_do_not_hold_on_a_node_is_broken(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    sign.touch()  # which this machine would hold locked
    assert checks.on_node(tmp_path, sign).remedy.startswith("mount it with locks")


def test_a_node_that_can_t_be_reached_from_another_one_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        there = nodes.Node("1", "worker-1", "127.0.0.1", (port,), 1, 0)
        assert nodes.reach([there]).found == "1 reached"
    finding = nodes.reach([there])  # nobody listens there any more, as behind a firewall
    assert finding.status == "broken"
    assert finding.found.startswith(f"no way to worker-1 (127.0.0.1:{port}, ")


def test_other_versions_and_another_clock_of_a_node_are_named(
    cluster_doctor: Doctor, installed: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("torch", "2.9.7")  # here, and not where the session's workers look
    ahead = SimpleNamespace(time=lambda: time.time() + 3600, monotonic=time.monotonic)
    monkeypatch.setattr(nodes, "time", ahead)
    code, rows = cluster_doctor()
    assert (code, rows["node/versions"]["status"]) == (1, "broken")
    assert "torch 2.1" in rows["node/versions"]["found"]
    assert "(here 2.9.7)" in rows["node/versions"]["found"]
    assert rows["node/clock"]["status"] == "warning"
    assert rows["node/clock"]["found"].endswith("behind this machine's")


def test_a_node_that_does_not_answer_is_left_alone(cluster_doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "ANSWER_WITHIN_S", 0.0)
    code, rows = cluster_doctor()
    assert (code, rows["node/node"]["found"]) == (1, "it has not answered within 0 s")


def test_an_address_that_leads_nowhere_is_broken(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    code, rows = doctor()
    assert (code, rows["cluster"]["status"]) == (1, "broken")
    assert "is not host:port" in f"{rows['cluster']['found']}: {rows['cluster']['remedy']}"
