"""What `labs submit` says before it submits: files that stay here, and a store's password that must not be seen."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster import jobs
from tests.conftest import Said

Cli = Callable[..., Said]


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What would go to a job server, in an otherwise empty current folder."""
    calls: list[dict[str, Any]] = []

    def submit(command: list[str], **options: Any) -> int:
        calls.append({"command": command, **options})
        return 0

    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("pipeline run mine.yaml", "pipeline spec mine.yaml"),
        ("pipeline plan mine.yaml", "pipeline spec mine.yaml"),
        ("train regression --config mine.yaml", "--config mine.yaml"),
        ("tune regression --space=mine.yaml", "--space mine.yaml"),
        ("train regression --data data", "--data data"),
        ("deliver regression --check mine.yaml", "--check mine.yaml"),
    ],
)
def test_a_file_that_a_job_can_t_see_is_named_and_nothing_is_submitted(
    labs_cli: Cli, submitted: list[dict[str, Any]], tmp_path: Path, command: str, named: str
) -> None:
    (tmp_path / "mine.yaml").touch()
    said = labs_cli("submit", "--", *command.split())
    assert (said.code, submitted) == (2, [])
    assert said.err == (
        f"error: {named} stays on this machine, and a job reads the head node's files: "
        "put it there, and give its absolute path\n"
    )


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("train cnn --config /there/c.yaml", "--config /there/c.yaml is read on the head node, not on this machine"),
        ("train cnn --data /there", "--data /there is read on the head node, not on this machine"),
        ("train cnn --home /there", "--home /there is written on the head node, not on this machine"),
        ("deliver cnn --run 1 --out out", "--out out is written into the job's temporary folder on the head node and"),
        ("compare --figure=f.png", "--figure f.png is written into the job's temporary folder on the head node and"),
    ],
)
def test_what_a_job_reads_or_writes_on_the_head_node_is_said(
    labs_cli: Cli, submitted: list[dict[str, Any]], command: str, sentence: str
) -> None:
    said = labs_cli("submit", "--", *command.split())
    assert (said.code, [call["command"] for call in submitted]) == (0, [command.split()])
    assert f"warning: {sentence}" in said.err


@pytest.mark.parametrize("command", ["pipeline run", "pipeline run ladder", "train cnn --set lr=0.1 --workers 4"])
def test_what_travels_is_submitted_without_a_word(labs_cli: Cli, submitted: list[dict[str, Any]], command: str) -> None:
    said = labs_cli("submit", "--address", "http://there:1", "--", *command.split())
    assert said.err == f"labs {command}: submitting to http://there:1\n"
    assert [call["command"] for call in submitted] == [command.split()]


def test_a_spec_of_the_uploaded_code_travels(
    labs_cli: Cli, submitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    said = labs_cli("submit", "--", "pipeline", "run", "pipelines/specs/ladder.yaml")
    assert (said.code, len(submitted), "warning" in said.err) == (0, 1, False)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("trian cnn", "No such command 'trian'"),
        ("pipeline", "a command is missing"),
        ("train cnn --presset boss", "--presset"),
        ("pipeline run laddr", "did you mean 'ladder'?"),
    ],
)
def test_a_typo_is_told_before_anything_is_submitted(
    labs_cli: Cli, submitted: list[dict[str, Any]], command: str, reason: str
) -> None:
    said = labs_cli("submit", "--", *command.split())
    assert (said.code, submitted) == (2, [])
    assert reason in " ".join(said.err.replace("│", " ").split())


@pytest.mark.parametrize("form", ["--store {}", "--store={}"])
@pytest.mark.parametrize(
    "uri", ["http://me:s3cret@host:5000", "http://s3cret@host", "postgresql://host/db?password=s3cret"]
)
def test_a_store_s_password_is_not_in_the_submitted_command(
    labs_cli: Cli, submitted: list[dict[str, Any]], form: str, uri: str
) -> None:
    said = labs_cli("submit", "--", "train", "cnn", *form.format(uri).split(), "--seed", "3")
    assert "s3cret" not in said.err + said.out
    assert submitted[0]["command"] == ["train", "cnn", "--seed", "3"]
    assert submitted[0]["variables"] == {"MLFLOW_TRACKING_URI": uri}


def test_a_store_without_a_password_stays_in_the_command(labs_cli: Cli, submitted: list[dict[str, Any]]) -> None:
    labs_cli("submit", "--", "train", "cnn", "--store", "http://host:5000")
    assert submitted[0]["command"] == ["train", "cnn", "--store", "http://host:5000"]
    assert submitted[0]["variables"] == {}


def test_a_store_of_this_machine_s_environment_is_not_the_job_s(
    labs_cli: Cli, submitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@host")
    labs_cli("submit", "--", "train", "cnn")
    assert (submitted[0]["command"], submitted[0]["variables"]) == (["train", "cnn"], {})


def test_comparing_a_store_that_has_a_password_is_not_submitted(labs_cli: Cli, submitted: list[dict[str, Any]]) -> None:
    """`compare` without --store reads the home's runs: the variable would not do."""
    said = labs_cli("submit", "--", "compare", "--store", "http://me:s3cret@host")
    assert (said.code, submitted) == (2, [])
    assert "run it here" in said.err
    assert "s3cret" not in said.err


class Refusing(BaseHTTPRequestHandler):
    """A job server that takes a job, and answers with an error that has all that it was sent."""

    def do_GET(self) -> None:
        version = self.path.endswith("/version")
        self._answer(200 if version else 404, '{"ray_version": "2.60.0", "version": "4"}' if version else "")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(500, f"not for me with s3cret: {body}")

    def _answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("command", ["submit -- train cnn", "jobs logs x"])
@pytest.mark.parametrize(
    "address",
    ["http://me:s3cret@127.0.0.1:1", "me:s3cret@127.0.0.1:1", "http://s3cret@127.0.0.1:1", "ray://me:s3cret@there:1",
     "http://me:s3cret@127.0.0.1:port", "http://me:s3cret#@127.0.0.1:1", "http://me:s3cret\N{SNOWMAN}@127.0.0.1:1",
     "http://127.0.0.1:1?token=s3cret"],
)  # fmt: skip
def test_a_password_of_the_job_server_s_address_is_not_shown(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, address: str, command: str
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    said = labs_cli(*command.split())
    assert (said.code, "Traceback" in said.err) == (2, False)
    assert "error: " in said.err
    assert "s3cret" not in said.out + said.err


def test_no_password_is_shown_of_what_a_job_server_refuses(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's client raises the server's whole answer, which may have what was sent: the variables with the store."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")
    httpd = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    command = ("submit", "--address", f"http://me:s3cret@127.0.0.1:{httpd.server_port}", "--", "train", "cnn")
    said = labs_cli(*command, "--store", "http://you:pa55word@host")
    httpd.shutdown()
    assert (said.code, "could not do it" in said.err) == (2, True), said.err
    assert "MLFLOW_TRACKING_URI" in said.err
    assert not [word for word in ("s3cret", "pa55word") if word in said.out + said.err]


@pytest.mark.parametrize("address", ["http://me:s3cret@there:6379", "me:s3cret@there:6379", "ray://s3cret@there:1"])
def test_a_password_in_the_cluster_s_address_is_not_shown(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    said = labs_cli("train", "regression", "--size", "tiny")
    assert (said.code, "is not host:port" in said.err, "s3cret" in said.err) == (2, True, False)


def _jobs(command: str) -> list[dict[str, Any]]:
    times = {"start": 1796000000.0, "end": None, "exit_code": None}
    return [
        {"id": f"raysubmit_{number}AAAAAAAAAAAAAAA", "status": "RUNNING", "command": command, "entrypoint": "", **times}
        for number in range(3)
    ]


@pytest.mark.parametrize("columns", ["", "80", "200"])
def test_a_list_of_jobs_cuts_no_id(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    rows = _jobs(f"train cnn --store sqlite:////{'long' * 50}/mlflow.db")
    monkeypatch.setattr(jobs, "list_jobs", lambda address: rows)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    said = labs_cli("jobs", "list")
    shown = [line.split()[0] for line in said.out.splitlines() if "raysubmit" in line]
    assert shown == [row["id"] for row in rows]


def test_a_list_of_jobs_shows_local_times_and_json_seconds(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _jobs("train cnn --preset strong")
    monkeypatch.setattr(jobs, "list_jobs", lambda address: rows)
    monkeypatch.setenv("COLUMNS", "120")
    said = labs_cli("jobs", "list")
    assert said.out.count(time.strftime("  %Y-%m-%d %H:%M  ", time.localtime(1796000000.0))) == 3
    assert "train cnn --preset strong" in said.out
    assert labs_cli("jobs", "list", "--json").json == rows
