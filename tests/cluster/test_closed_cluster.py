"""A cluster started as `cluster/README.md` says: closed to whoever has no token, and within reach of who has it."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
HEAD_NODE, OTHER_MACHINE = re.findall(
    r"^```\n(.*?)^```", (ROOT / "cluster" / "README.md").read_text().partition("## Start a cluster")[2], re.M | re.S
)[:2]


@dataclass
class Machines:
    """The head node and another machine of the same network: two users' homes on this one."""

    address: str
    port: int
    head: Path
    other: Path
    temp: str
    environment: dict[str, str]

    def type(self, block: str, home: Path) -> None:
        """Type a block of commands into a shell of a user who has that home; what they start goes on."""
        subprocess.run(
            ["bash", "-ec", block],
            env=self.environment | {"HOME": str(home)},
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
            timeout=120,
        )

    def started(self) -> list[psutil.Process]:
        """Every process that knows the folder of this Ray, which is nobody else's."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("RAY_TMPDIR") == self.temp or self.temp in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def client(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Python as a user who has the token, without what would make it one of the cluster's processes."""
        environment = {name: value for name, value in self.environment.items() if name != "RAY_TMPDIR"}
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=environment | {"HOME": str(self.head), "PYTHONPATH": str(ROOT)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def labs(self, *arguments: str) -> subprocess.Popen[str]:
        return self.client("-m", "pipelines.cli", *arguments)

    def kill(self) -> None:
        while left := self.started():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    head, other, tools = (tmp_path_factory.mktemp(name) for name in ("head", "other", "tools"))
    temp = tempfile.mkdtemp(prefix="ray-")  # not pytest's: Ray puts sockets in it, whose paths must be short
    port, dashboard = _free_port(), _free_port()
    ssh = tools / "ssh"  # to the head node, which is this machine
    ssh.write_text(f'#!/bin/sh\nshift\ncd {head} && exec "$@"\n')
    ssh.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LABS_", "PYTHON"))}
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    address = f"http://127.0.0.1:{dashboard}"
    machines = Machines(address, port, head, other, temp, kept | {"PATH": path, "RAY_TMPDIR": temp})
    room = f"--port={port} --dashboard-port={dashboard} --ray-client-server-port={_free_port()}"
    small = "--dashboard-agent-listen-port=0 --num-cpus=1 --object-store-memory=100000000"
    try:
        block = HEAD_NODE.replace("HEAD", "127.0.0.1").replace("ray start --head", f"ray start --head {room} {small}")
        machines.type(block, head)
        _wait_until_it_answers(address)
        yield machines
    finally:
        machines.kill()
        shutil.rmtree(temp, ignore_errors=True)


def _wait_until_it_answers(address: str) -> None:
    deadline = time.monotonic() + 120
    while _status(address) is None:
        assert time.monotonic() < deadline, "the job server did not start"
        time.sleep(0.1)


def _status(address: str, token: str = "") -> int | None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{address}/api/jobs/", headers=headers), timeout=5
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_only_who_has_the_token_is_let_in(machines: Machines) -> None:
    file = machines.head / ".ray" / "auth_token"
    answers = [_status(machines.address, token) for token in ("", "b" * 64, file.read_text())]
    assert answers == [401, 403, 200]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_other_users_of_the_machine_read_no_file_of_ray(machines: Machines) -> None:
    """Its logs have the variables of jobs, such as a store's URI with its password."""
    files = [path for path in Path(machines.temp).rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_another_machine_joins_with_a_copy_of_the_token(machines: Machines) -> None:
    """`ray start` ends when the head node has the new node in its list, and fails where it is refused."""
    joining = OTHER_MACHINE.replace("HEAD:6379", f"127.0.0.1:{machines.port}").replace("HEAD", "127.0.0.1")
    machines.type(f"{joining.rstrip()} --num-cpus=1 --object-store-memory=100000000", machines.other)
    file = machines.other / ".ray" / "auth_token"
    assert file.read_text() == (machines.head / ".ray" / "auth_token").read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_head_node_that_dies_while_a_job_is_followed_is_exit_code_1(machines: Machines) -> None:
    """The last test of the file: it ends the cluster."""
    submit = (
        "from ray.job_submission import JobSubmissionClient\n"
        f"print(JobSubmissionClient({machines.address!r}).submit_job(entrypoint='echo begun; sleep 300'))"
    )
    job = machines.client("-c", submit, RAY_AUTH_MODE="token").communicate(timeout=60)[0].split()[-1]
    impatient = "from cluster import job_log; job_log.GIVE_UP_S = 2; from pipelines.cli import main; main()"
    follower = machines.client("-c", impatient, "jobs", "logs", job, "--follow", "--address", machines.address)
    assert follower.stdout is not None
    while (line := follower.stdout.readline()) != "begun\n":
        assert line, "the log ended before the job began"
    machines.kill()
    said = follower.communicate(timeout=60)[1]
    assert said == (
        f"error: the job server at {machines.address} has stopped answering, job {job} may go on: "
        f"labs jobs logs {job} --follow takes its log up again, and the same submission continues its work\n"
    )
    assert follower.returncode == 1
