"""What `labs submit` does before it submits: files that travel, and secrets that must not be seen."""

import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster import jobs
from pipelines import checkout
from tests.conftest import Said

Cli = Callable[..., Said]
COMMIT = "1a2b3c4d" * 5


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What would go to a job server, in an otherwise empty current folder."""
    calls: list[dict[str, Any]] = []

    def submit(command: list[str], **options: Any) -> int:
        calls.append({"command": command, **options})
        return 0

    monkeypatch.setattr(jobs, "submit", submit)
    monkeypatch.setattr(checkout, "head", lambda: checkout.Head(COMMIT, True))
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's folder: a config, a data folder, and a spec that names the data and has a name with a space."""
    (tmp_path / "mine.yaml").write_text("lr: 0.1\n")
    (tmp_path / "digits" / "train").mkdir(parents=True)
    (tmp_path / "digits" / "train" / "a.csv").write_text("1,2\n")
    (tmp_path / "specs").mkdir()
    nodes = "nodes: {a: {lab: regression, data: ../digits}, b: {lab: regression, data: /there}}"
    (tmp_path / "specs" / "my own.yaml").write_text(f"name: mine\n{nodes}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "travelling", "files"),
    [
        (["train", "cnn", "--config", "mine.yaml"], ["train", "cnn", "--config", "files/mine.yaml"], ["mine.yaml"]),
        (["tune", "cnn", "--space=./mine.yaml"], ["tune", "cnn", "--space=files/mine.yaml"], ["mine.yaml"]),
        (["train", "cnn", "--data", "digits/"], ["train", "cnn", "--data", "files/digits"], ["digits"]),
        (
            ["pipeline", "run", "specs/my own.yaml", "--only", "mine.yaml"],
            ["pipeline", "run", "files/specs/my own.yaml", "--only", "mine.yaml"],
            ["specs/my own.yaml", "digits"],
        ),
        (
            ["train", "cnn", "--data", "digits", "--config", "mine.yaml"],
            ["train", "cnn", "--data", "files/digits", "--config", "files/mine.yaml"],
            ["mine.yaml", "digits"],
        ),
    ],
)
def test_files_that_a_command_names_travel_and_the_job_gets_their_new_paths(
    labs_cli: Cli,
    submitted: list[dict[str, Any]],
    mine: Path,
    command: list[str],
    travelling: list[str],
    files: list[str],
) -> None:
    said = labs_cli("submit", "--", *command)
    assert said.code == 0, said.err
    assert submitted[0]["command"] == travelling
    assert sorted(submitted[0]["files"].values()) == sorted(mine / file for file in files)
    assert said.err.count("is uploaded (0.0 MB)") == len(files)


def test_what_a_spec_says_of_its_data_holds_in_the_job(
    labs_cli: Cli, submitted: list[dict[str, Any]], mine: Path
) -> None:
    """A relative path leads from the uploaded spec to the uploaded data; an absolute one is the head node's."""
    said = labs_cli("submit", "--", "pipeline", "run", str(mine / "specs" / "my own.yaml"))
    job = Path(submitted[0]["command"][-1])
    places = {os.path.normpath(place): source for place, source in submitted[0]["files"].items()}
    assert places[os.path.normpath(job.parent / "../digits")] == mine / "digits"
    assert f"data /there of {mine}/specs/my own.yaml is read on the head node" in said.err


def test_a_large_data_folder_does_not_travel_and_the_way_is_said(
    labs_cli: Cli, submitted: list[dict[str, Any]], mine: Path
) -> None:
    with (mine / "digits" / "train" / "b.npy").open("wb") as file:
        file.truncate(51 * 2**20)
    said = labs_cli("submit", "--", "train", "cnn", "--data", "digits")
    assert (said.code, submitted) == (2, [])
    assert said.err == (
        "error: --data digits is more than the 50 MB that travel with a job: copy it to the head node, "
        "and give its absolute path there\n"
    )
    said = labs_cli("submit", "--", "train", "cnn", "--data", str(mine / "digits"))
    assert submitted[0]["command"] == ["train", "cnn", "--data", str(mine / "digits")]
    assert "is more than the 50 MB that travel with a job and is read on the head node" in said.err


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("pipeline run mine/absent.yaml", "pipeline spec mine/absent.yaml"),
        ("train regression --config absent.yaml", "--config absent.yaml"),
        ("tune regression --space=absent.yaml", "--space absent.yaml"),
        ("train regression --data absent", "--data absent"),
        ("deliver regression --check absent.csv", "--check absent.csv"),
    ],
)
def test_a_file_that_is_not_here_is_named_and_nothing_is_submitted(
    labs_cli: Cli, submitted: list[dict[str, Any]], command: str, named: str
) -> None:
    said = labs_cli("submit", "--", *command.split())
    assert (said.code, submitted) == (2, [])
    assert f"error: {named} does not exist" in said.err


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
    assert said.err.splitlines()[-1] == f"labs {command}: submitting to http://there:1"
    assert "uploaded" not in said.err
    assert [call["command"] for call in submitted] == [command.split()]


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
    assert submitted[0]["secrets"] == {"MLFLOW_TRACKING_URI": uri}


def test_a_store_without_a_password_stays_in_the_command(labs_cli: Cli, submitted: list[dict[str, Any]]) -> None:
    labs_cli("submit", "--", "train", "cnn", "--store", "http://host:5000")
    assert submitted[0]["command"] == ["train", "cnn", "--store", "http://host:5000"]
    assert submitted[0]["secrets"] == {}


def test_a_store_of_this_machine_s_environment_is_not_the_job_s(
    labs_cli: Cli, submitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@host")
    labs_cli("submit", "--", "train", "cnn")
    assert (submitted[0]["command"], submitted[0]["secrets"]) == (["train", "cnn"], {})


def test_comparing_a_store_that_has_a_password_is_not_submitted(labs_cli: Cli, submitted: list[dict[str, Any]]) -> None:
    """`compare` without --store reads the home's runs: the variable would not do."""
    said = labs_cli("submit", "--", "compare", "--store", "http://me:s3cret@host")
    assert (said.code, submitted) == (2, [])
    assert "run it here" in said.err
    assert "s3cret" not in said.err


def test_variables_reach_the_job_in_no_command(
    labs_cli: Cli, submitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_KEY", "s3cret")
    said = labs_cli("submit", "--env", "S3_KEY", "--env", "DEBUG=a=b", "--env", "EMPTY=", "--", "train", "cnn")
    assert submitted[0]["variables"] == {"LABS_COMMIT": f"{COMMIT}-dirty", "DEBUG": "a=b", "EMPTY": ""}
    assert submitted[0]["secrets"] == {"S3_KEY": "s3cret"}
    assert (submitted[0]["command"], "s3cret" in said.out + said.err) == (["train", "cnn"], False)


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("ABSENT_HERE", "--env ABSENT_HERE: this shell has no variable ABSENT_HERE"),
        ("=s3cret", "--env : a variable's name has"),
        ("A-B=1", "--env A-B: a variable's name has"),
    ],
)
def test_a_variable_that_can_t_be_is_named(
    labs_cli: Cli, submitted: list[dict[str, Any]], variable: str, sentence: str
) -> None:
    said = labs_cli("submit", "--env", variable, "--", "train", "cnn")
    assert (said.code, submitted, sentence in said.err) == (2, [], True)
    assert "s3cret" not in said.err


def test_name_packages_and_the_wait_are_passed_on(labs_cli: Cli, submitted: list[dict[str, Any]]) -> None:
    options = ["--name", "my run", "--pip", "a==1", "--pip", "b", "--no-wait"]
    labs_cli("submit", *options, "--", "train", "cnn")
    job = submitted[0]
    assert job["facts"] == {"name": "my run", "commit": "1a2b3c4 with changes"}
    assert (job["requirements"], job["wait"]) == (["a==1", "b"], False)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("http://192.0.2.1:1", True),
        ("192.0.2.1:1", True),
        ("https://192.0.2.1:1", False),
        ("http://localhost:1", False),
    ],
)
def test_a_token_that_others_could_read_is_warned_of(
    labs_cli: Cli, submitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, address: str, warned: bool
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cret")
    said = labs_cli("submit", "--address", address, "--", "train", "cnn")
    assert (f"warning: {address} is not encrypted" in said.err, "s3cret" in said.err) == (warned, False)


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
    said = labs_cli(*command[:-3], "--env", 'KEY=s3"cret', *command[-3:], "--store", "http://you:pa55word@host")
    httpd.shutdown()
    assert (said.code, "could not do it" in said.err) == (2, True), said.err
    assert "working_dir" in said.err
    assert not [word for word in ("s3cret", "pa55word") if word in said.out + said.err]
    assert "cret" not in said.err


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
        {
            "id": f"raysubmit_{number}AAAAAAAAAAAAAAA",
            "name": None,
            "status": "RUNNING",
            "command": command,
            "entrypoint": "",
            "commit": "1a2b3c4 with changes",
            "home": None,
            **times,
        }
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


def test_a_list_of_jobs_shows_their_names_and_commits(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "name": "my run"} for row in _jobs("train cnn")]
    monkeypatch.setattr(jobs, "list_jobs", lambda address: rows)
    monkeypatch.setenv("COLUMNS", "200")
    said = labs_cli("jobs", "list")
    assert (said.out.count("my run"), said.out.count("1a2b3c4 with changes")) == (3, 3)


def test_a_list_of_jobs_shows_local_times_and_json_seconds(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _jobs("train cnn --preset strong")
    monkeypatch.setattr(jobs, "list_jobs", lambda address: rows)
    monkeypatch.setenv("COLUMNS", "120")
    said = labs_cli("jobs", "list")
    assert said.out.count(time.strftime("  %Y-%m-%d %H:%M  ", time.localtime(1796000000.0))) == 3
    assert "train cnn --preset strong" in said.out
    assert labs_cli("jobs", "list", "--json").json == rows
