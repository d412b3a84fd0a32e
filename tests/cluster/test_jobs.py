"""Jobs on a real, token-protected Ray head node, with a stand-in for the program's packages."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Said

ROOT = Path(__file__).parents[2]
CLI = """
import os, sys, time, urllib.parse
from pathlib import Path
import psutil
store = urllib.parse.urlsplit(os.environ.get("MLFLOW_TRACKING_URI", "http://:absent@"))
seen = [p.pid for p in psutil.process_iter(["cmdline"]) if store.password in str(p.info["cmdline"])]
print("store", store.hostname, "seen", seen)
print("args", sys.argv[1:], "home", os.environ["LABS_HOME"])
print("uploaded", sorted(path for path in os.listdir() if path != "__pycache__"))
print("files", {str(path): path.read_text() for path in Path("files").rglob("*") if path.is_file()})
if sys.argv[1] == "wait":
    time.sleep(120)
sys.exit(int(sys.argv[1]))
"""


@dataclass
class Head:
    """A running head node, and what a client of it needs; clients are processes of their own, as users' are."""

    address: str
    home: Path
    code: Path
    base: str = ""
    """The folder that its Ray takes for the machine's temporary one."""
    env: dict[str, str] = field(default_factory=dict)

    def client(self, call: str, **env: str) -> subprocess.Popen[str]:
        script = (
            "import os, signal, sys\nfrom pathlib import Path\nfrom cluster import connect, jobs\n"
            # As in a terminal: what runs these tests in the background may have them ignore Ctrl-C.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"address, code = {self.address!r}, Path({str(self.code)!r})\n"
            f"try:\n    result = {call}\nexcept jobs.ClusterError as error:\n    sys.exit(f'refused: {{error}}')\n"
            "print('result', result)\n"
        )
        return subprocess.Popen(
            [sys.executable, "-u", "-c", script],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def said(self, call: str, **env: str) -> str:
        return self.client(call, **env).communicate(timeout=120)[0]


def _environment() -> dict[str, str]:
    """This process's, without what a Ray session in it has set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "LABS_"))}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/api/version", timeout=2)
    except urllib.error.HTTPError:
        return True  # it is there and wants a token
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("a" * 64)
    env = _environment() | {
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "http_proxy": "http://127.0.0.1:1",  # what is on this machine is reached without it
    }
    port = _free_port()
    base = tempfile.mkdtemp(prefix="ray-")  # not pytest's: Ray puts sockets in it, whose paths must be short
    options = f"--port={_free_port()} --dashboard-port={port} --dashboard-agent-listen-port=0 --temp-dir={base}/ray"
    # A group of its own: `ray stop` would end every Ray on the machine.
    process = subprocess.Popen(
        f"exec ray start --head --block --num-cpus=1 --object-store-memory=100000000 {options}",
        shell=True,
        env={name: value for name, value in env.items() if name != "PYTHONPATH"} | {"RAY_AUTH_MODE": "token"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        head = Head(f"http://127.0.0.1:{port}", home, _packages(tmp_path_factory.mktemp("code")), base, env)
        deadline = time.monotonic() + 180
        while not _answers(head.address):
            assert time.monotonic() < deadline, "the head node did not start"
            time.sleep(0.2)
        yield head
    finally:
        family = psutil.Process(process.pid).children(recursive=True)  # not all are in the group
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=5)
        for left in alive:
            with suppress(psutil.NoSuchProcess):
                left.kill()
        process.kill()
        process.wait(timeout=15)
        shutil.rmtree(base, ignore_errors=True)


def _packages(code: Path) -> Path:
    for name in ("labs", "pipelines", "cluster"):
        (code / name).mkdir()
        (code / name / "__init__.py").touch()
    shutil.copy(ROOT / "cluster" / "job_variables.py", code / "cluster")
    (code / "pipelines" / "cli.py").write_text(CLI)
    (code / "pyproject.toml").touch()
    (code / "data.bin").write_bytes(bytes(20 * 2**20))
    (code / "mine" / "data").mkdir(parents=True)
    (code / "mine" / "my own.yaml").write_text("lr: 1")
    (code / "mine" / "data" / "a.csv").write_text("1,2")
    (code / "mine" / "data" / ".gitignore").write_text("*")
    return code


def _submit(command: list[str]) -> str:
    return f"jobs.submit({command!r}, address=address, code=code)"


@pytest.mark.slow
def test_a_job_s_log_and_exit_code_come_back_and_only_code_and_named_files_are_uploaded(head: Head) -> None:
    files = "{'files/my own.yaml': code / 'mine' / 'my own.yaml', 'files/data': code / 'mine' / 'data'}"
    facts = "{'name': 'my run', 'commit': '1a2b3c4 with changes'}"
    said = head.said(
        f"jobs.submit(['7', 'two words'], address=address, code=code, files={files}, facts={facts}), "
        "jobs.list_jobs(address)"
    )
    assert f"args ['7', 'two words'] home {head.home}/.labs" in said
    assert "uploaded ['cluster', 'files', 'labs', 'pipelines', 'pyproject.toml']" in said
    assert "files {" in said
    assert "'files/my own.yaml': 'lr: 1'" in said
    assert "'files/data/a.csv': '1,2'" in said
    assert "result (7, [{" in said
    job_id = re.findall(r"labs jobs stop (\S+)", said)[0]
    assert f"'id': '{job_id}', 'name': 'my run', 'status': 'FAILED'" in said
    assert "'commit': '1a2b3c4 with changes'" in said
    assert "two words" in head.said(f"jobs.logs(address, {job_id!r})")


@pytest.mark.slow
def test_secrets_of_a_job_show_in_no_list_of_jobs_or_processes(head: Head) -> None:
    """Each worker that Ray starts had them for a second in its command."""
    client = head.client(
        "jobs.submit(['0'], address=address, code=code, secrets={'MLFLOW_TRACKING_URI': os.environ['URI']}), "
        "jobs.list_jobs(address)",
        URI="http://me:s3cret@somewhere",
    )
    seen = set()
    while client.poll() is None:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                command = file.read_text()
                if "s3cret" in command:
                    seen.add(command.replace("\0", " "))
        time.sleep(0.1)
    said = client.communicate()[0]
    assert "store somewhere seen []" in said
    assert "s3cret" not in said
    assert seen == set()
    logs = [file for file in Path(head.base).rglob("*") if file.suffix in (".log", ".out", ".err") and file.is_file()]
    assert [file for file in logs if "s3cret" in file.read_text(errors="replace")] == []


@pytest.mark.slow
def test_a_followed_job_goes_on_after_ctrl_c_and_a_stopped_one_is_130(head: Head) -> None:
    client = head.client(_submit(["wait"]))
    assert client.stdout is not None
    while "uploaded" not in (line := client.stdout.readline()):
        assert line, "the log ended before the job began"
    client.send_signal(signal.SIGINT)
    said = client.communicate(timeout=60)[0]
    job_id = re.findall(r"job (\S+) goes on; to stop it: labs jobs stop", said)[0]
    assert said.endswith("result 130\n")
    follower = head.client(f"jobs.logs(address, {job_id!r}, follow=True)")
    assert head.said(f"jobs.stop(address, {job_id!r})") == "result True\n"
    assert follower.communicate(timeout=120)[0].endswith("result 130\n")


@pytest.mark.slow
def test_ctrl_c_between_two_lines_of_a_log_leaves_nothing_open(head: Head) -> None:
    """The stream is then read by nobody, so that no task closes it."""
    write = "lambda text: (print(text, end=''), signal.raise_signal(signal.SIGINT) if 'uploaded' in text else None)"
    said = head.said(f"jobs.submit(['wait'], address=address, code=code, write={write})")
    assert said.endswith("result 130\n")
    head.said(f"jobs.stop(address, {re.findall(r'job (.+) goes on', said)[0]!r})")


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_job_server_that_hangs(head: Head) -> None:
    client = head.client(_submit(["wait"]))
    assert client.stdout is not None
    while "uploaded" not in (line := client.stdout.readline()):
        assert line, "the log ended before the job began"
    port = head.address.rsplit(":", 1)[1]
    servers = [p for p in psutil.process_iter(["cmdline"]) if f"--port={port}" in (p.info["cmdline"] or [])]
    try:
        for server in servers:
            server.suspend()
        time.sleep(2)  # the log is silent, so the client has asked how the job is and waits for the answer
        client.send_signal(signal.SIGINT)
        said = client.communicate(timeout=20)[0]
    finally:
        for server in servers:
            server.resume()
    job_id = re.findall(r"job (\S+) goes on; to stop it: labs jobs stop", said)[0]
    assert said.endswith("result 130\n")
    head.said(f"jobs.stop(address, {job_id!r})")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["logs", "stop"])
def test_an_unknown_job_is_named(head: Head, call: str) -> None:
    assert f"refused: no job 'absent' on the cluster at {head.address}" in head.said(f"jobs.{call}(address, 'absent')")


@pytest.mark.slow
def test_a_wrong_token_says_where_the_right_one_belongs_and_is_not_shown(head: Head) -> None:
    said = head.said("jobs.list_jobs(address)", RAY_AUTH_TOKEN="b" * 64)
    assert "refused the token" in said
    assert "~/.ray/auth_token" in said
    assert "b" * 64 not in said
    assert "refused the token" in head.said("jobs.list_jobs(address)", HOME=str(head.code))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("http://127.0.0.1:1", "no job server answers at http://127.0.0.1:1"),
        ("ray://127.0.0.1:1", "'ray://127.0.0.1:1' is not http://host:port"),
    ],
)
def test_a_wrong_job_server_is_named_within_seconds(tmp_path: Path, address: str, sentence: str) -> None:
    env = _environment() | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    assert sentence in Head(address, tmp_path, tmp_path, env=env).said("jobs.list_jobs(address)")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1 within 8 s (which Ray takes for "),
        ("ray://somewhere", "use labs submit --address http://host:8265"),
    ],
)
def test_a_wrong_ray_address_is_named_within_its_limit(tmp_path: Path, address: str, sentence: str) -> None:
    env = _environment() | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RAY_ADDRESS": address}
    start = time.monotonic()
    assert sentence in Head("", tmp_path, tmp_path, env=env).said("connect.connect()")
    assert time.monotonic() - start < 30


@pytest.mark.slow
def test_auto_joins_the_ray_of_this_machine(head: Head) -> None:
    said = head.said("str(connect.connect())", RAY_ADDRESS="auto", RAY_TMPDIR=head.base)
    assert "result 1 node, 1 CPU\n" in said


def test_too_much_code_is_refused_with_the_largest_files(tmp_path: Path) -> None:
    from cluster import jobs

    (_packages(tmp_path) / "labs" / "weights.py").write_bytes(bytes(11 * 2**20))
    with pytest.raises(jobs.ClusterError, match=r"11\.0 MB, the limit is 10 MB: largest are labs/weights\.py \(11\.0"):
        jobs.submit(["list"], address="http://127.0.0.1:1", code=tmp_path)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    from cluster import jobs

    with pytest.raises(jobs.ClusterError, match="no package labs, pipelines, cluster in"):
        jobs.submit(["list"], address="http://127.0.0.1:1", code=tmp_path)


@pytest.mark.slow
def test_labs_submit_trains_like_locally_and_reuses_after_an_unrelated_edit(
    head: Head, labs_cli: Callable[..., Said], tmp_path: Path
) -> None:
    """The whole way: `labs submit` from another directory, the real program, a second submit after an edit; the
    results are fetched in the end.
    """
    from mlflow import MlflowClient

    code, elsewhere = tmp_path / "code", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("labs", "pipelines", "cluster"):
        shutil.copytree(ROOT / name, code / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", code)
    train, commit = ["train", "regression", "--preset", "strong", "--size", "tiny", "--json"], "1a2b3c4d" * 5

    def labs(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            env=head.env | {"PYTHONPATH": str(code), "LABS_COMMIT": f"{commit}-dirty"},
            cwd=elsewhere,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def document(log: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(log[log.index("\n{\n") : log.rindex("}") + 1])
        return found

    local = labs_cli(*train, "--workers", "0").json
    first_log = labs("submit", "--address", head.address, "--", *train)
    first = document(first_log)
    with (code / "pipelines" / "show" / "display.py").open("a") as file:
        file.write("\nEDITED = True\n")
    second_log = labs("submit", "--address", head.address, "--", *train)
    job_id = re.findall(r"labs jobs stop (\S+)", first_log)[0]
    labs("jobs", "fetch", job_id, "--out", "fetched", "--address", head.address)
    timeless = [
        {name: value for name, value in run["metrics"].items() if not name.startswith(("time/", "perf/"))}
        for run in (local, first)
    ]
    assert timeless[0] == timeless[1]
    assert "has already finished" in second_log
    assert document(second_log)["run_id"] == first["run_id"]
    fetched = {path.name: path for path in (elsewhere / "fetched").rglob("*") if path.is_file()}
    assert json.loads(fetched["result.json"].read_text())["metrics"] == first["metrics"]
    assert "pred.csv" in fetched
    tags = MlflowClient(f"sqlite:///{head.home}/.labs/mlflow.db").get_run(first["run_id"]).data.tags
    assert (tags["mlflow.source.git.commit"], tags["mlflow.labs.git.dirty"]) == (commit, "True")
