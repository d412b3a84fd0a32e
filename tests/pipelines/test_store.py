"""MLflow stores that are down or refuse: said in one sentence, before training, and nothing is lost."""

import json
import os
import pwd
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cluster.uri import without_password, without_secrets
from labs.core import events
from pipelines.home import read_record, write_record
from pipelines.tracking import connection, mirroring, snapshot
from pipelines.tracking.mirroring import Mirroring
from pipelines.tracking.writer import MIRROR, NotMirrored, Store, search
from tests import forked
from tests.conftest import Said

Cli = Callable[..., Said]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")
EXPERIMENT = {"experiment_id": "1", "name": "ml-labs", "lifecycle_stage": "active"}


@contextmanager
def server(answers: dict[str, tuple[int, Any]], login: bool = False) -> Iterator[str]:
    """A tracking server that gives each call, by the end of its path, a fixed answer; 404 for any other call.

    With `login`, 401 for each call without a user.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            code, document = next((answer for end, answer in answers.items() if path.endswith(end)), (404, {}))
            if login and "Authorization" not in self.headers:
                code, document = 401, "You are not authenticated"
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()


def runs(store: Store) -> list[Any]:
    return search(store.client(), store.experiment)


def trained_folders(home: Path) -> list[Path]:
    return sorted((home / "runs").iterdir(), key=lambda folder: float(read_record(folder)["created"]))


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("./mlruns2", "mlruns2/mlflow.db"),
        ("file:///somewhere/mlruns", "sqlite:////somewhere/mlruns/mlflow.db"),
        ("localhost:5000", "http://host:5000"),
        ("postgres://me:secret@host/db", "did you mean 'postgresql'"),
        ("postgresql://me:secret@host/db", "pip install"),  # whose default driver depends on SQLAlchemy's version
        ("postgresql+psycopg2://me:secret@host/db", "pip install psycopg2-binary"),
        ("mysql+pymysql://me:secret@host/db", "pip install pymysql"),
        ("mysql+nothing://me:secret@host/db", "must be a URI"),
        ("http://host:port", "a host and a port"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_a_store_that_can_never_work_is_bad_input_before_any_work(
    labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, uri: str, remedy: str
) -> None:
    for driver in ("psycopg2", "psycopg", "pymysql"):
        monkeypatch.setitem(sys.modules, driver, None)  # as where it is not installed
    said = labs_cli(*TRAIN, "--store", uri)
    assert said.code == 2
    assert remedy in said.err
    assert "secret" not in said.err
    assert not (home / "runs").exists()


def test_a_database_that_does_not_answer_costs_seconds(labs_cli: Cli, tmp_path: Path) -> None:
    """MLflow alone tries to connect ten times, for 101 s, and does so again at the end of the command."""
    labs_cli(*TRAIN, "--seed", "1")  # libraries are imported, data are there
    started = time.monotonic()
    said = labs_cli(*TRAIN, "--store", f"sqlite:///{tmp_path}")  # a folder can't be opened as a database
    assert said.code == 0
    assert said.err.count("warning") == 2, said.err
    assert "can't be written" in said.err
    assert time.monotonic() - started < 20


def test_a_server_that_never_answers_is_given_up(labs_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REACH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = labs_cli(*TRAIN, "--store", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert said.code == 0
    assert "no server answers" in said.err


def test_a_server_that_says_its_version_and_then_hangs_is_given_up_in_time(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It held up training for 23 s, and the end of the command once more: MLflow waits ten seconds, twice."""
    monkeypatch.setattr(connection, "OPEN_S", 1.0)
    let_go = threading.Event()

    class Hanging(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.endswith("/version"):
                let_go.wait(60)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"3.7.0")

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    labs_cli(*TRAIN, "--seed", "1")  # libraries are imported, data are there
    started = time.monotonic()
    said = labs_cli(*TRAIN, "--store", f"http://me:secret@127.0.0.1:{httpd.server_port}")
    seconds = time.monotonic() - started
    let_go.set()
    httpd.shutdown()
    assert (said.code, said.json["status"]) == (0, "FINISHED")
    assert "has not answered what was asked of it within 1 s" in said.err.replace("\n", " ")
    assert "secret" not in said.err
    assert seconds < 10


def test_an_experiment_that_may_not_be_made_is_said_with_what_to_do(labs_cli: Cli) -> None:
    answers = {
        "get-by-name": (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}),
        "create": (403, {"error_code": "PERMISSION_DENIED", "message": "not yours"}),
    }
    with server(answers) as host:
        said = labs_cli(*TRAIN, "--store", f"http://{host}")
    assert said.code == 0
    assert "PERMISSION_DENIED: not yours" in said.err.replace("\n", " ")
    assert "MLFLOW_EXPERIMENT_NAME" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_lets_nobody_in_says_where_the_password_belongs(labs_cli: Cli, code: int) -> None:
    with server({"get-by-name": (code, "You are not authenticated")}) as host:
        said = labs_cli("compare", "--store", f"http://me:secret@{host}")
    assert said.code == 1
    assert "MLFLOW_TRACKING_PASSWORD" in said.err
    assert "secret" not in said.err


def test_a_package_that_the_store_s_files_need_is_named_before_training(labs_cli: Cli, home: Path) -> None:
    with server({"get-by-name": (200, {"experiment": {**EXPERIMENT, "artifact_location": "gs://bucket/1"}})}) as host:
        said = labs_cli(*TRAIN, "--store", f"http://{host}")
    assert said.code == 2
    assert "pip install google-cloud-storage" in said.err
    assert not (home / "runs").exists()


@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, 2.9), "the server runs MLflow 2.9; version 3 or a newer one is needed there"),
        ((502, "Bad Gateway"), "a proxy answers there (502), and the server behind it does not"),
    ],
)
def test_a_server_that_is_too_old_or_gone_behind_its_proxy_is_told_before_training(
    labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Any], sentence: str, login: bool
) -> None:
    """A server with users tells only them its version: that of an old one stayed unknown."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    with server({"/version": answer}, login) as host:
        said = labs_cli(*TRAIN, "--store", f"http://{host}")
    text = " ".join(said.err.split())
    assert sentence in text[: text.index("RUNNING")]


@pytest.fixture
def other(empty_store: Path, tmp_path: Path) -> str:
    """Another store, with nothing in it."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'other.db')}"


def test_one_bad_folder_keeps_no_other_from_the_store(labs_cli: Cli, home: Path, other: str, tmp_path: Path) -> None:
    """A tag that MLflow refuses, and prepared data that were removed: each folder is written, or named, by itself."""
    for seed in "012":
        labs_cli(*TRAIN, "--seed", seed)
    tagged, dataless, whole = trained_folders(home)
    write_record(tagged, end_tags={"lr=0.01": "x"})
    data = read_record(dataless)["data"]
    write_record(dataless, data={**data, "packed": str(tmp_path / "removed")})
    said = labs_cli("sync", "--store", other)
    assert said.code == 1
    assert "1 runs and pipelines written" in said.err.replace("\n", " ")
    assert said.err.count("error: ") == 2
    assert {folder.name for folder in (tagged, dataless, whole) if folder.name in said.err.replace("\n", "")} == {
        tagged.name,
        dataless.name,
    }
    written = {run.data.tags["labs.folder"]: run for run in runs(Store(home, other)) if "labs.lab" in run.data.tags}
    assert set(written) == {str(tagged), str(dataless), str(whole)}
    assert {run.info.status for run in written.values()} == {"FINISHED"}


def test_a_damaged_record_is_named_and_the_rest_is_written(labs_cli: Cli, home: Path, other: str) -> None:
    for seed in "01":
        labs_cli(*TRAIN, "--seed", seed)
    folder, _ = trained_folders(home)
    (folder / "record.json").write_text("")
    said = labs_cli("sync", "--store", other)
    assert said.code == 1
    assert f"error: {folder}" in said.err
    assert len(runs(Store(home, other))) == 1


def test_a_run_is_written_where_its_pipeline_can_t_be(labs_cli: Cli, home: Path, other: str, tmp_path: Path) -> None:
    nodes = ", ".join(f"{name}: {{lab: regression, size: tiny, resources: {{workers: 0}}, seeds: [{name[1]}]}}"
                      for name in ("n0", "n1"))  # fmt: skip
    (tmp_path / "spec.yaml").write_text(f"{{name: two, nodes: {{{nodes}}}}}")
    labs_cli("pipeline", "run", str(tmp_path / "spec.yaml"))
    (pipeline,) = (home / "pipelines").iterdir()
    write_record(pipeline, params={"name" * 100: "longer than MLflow takes"})
    assert labs_cli("sync", "--store", other).code == 1
    written = [run for run in runs(Store(home, other)) if "labs.lab" in run.data.tags]
    assert [run.info.status for run in written] == ["FINISHED", "FINISHED"]


def test_torn_notes_of_a_mirror_are_made_anew(labs_cli: Cli, home: Path) -> None:
    labs_cli(*TRAIN)
    (folder,) = trained_folders(home)
    for content in ("", "[]"):
        (folder / MIRROR).write_text(content)
        assert labs_cli("status").code == 0
        assert labs_cli("sync").code == 0
    assert len(runs(Store(home, None))) == 1


def test_a_store_that_was_removed_is_written_again(labs_cli: Cli, home: Path, empty_store: Path) -> None:
    """Each folder remembered that it was mirrored: `labs sync` said that 0 were written, and MLflow had none.

    A run that went on could never be written again: MLflow has no run of the id that its folder remembered.
    """

    def remove() -> None:
        shutil.copy(empty_store, home / "mlflow.db")  # an empty one in its place: this process has the file open

    first = labs_cli(*TRAIN).json["run_id"]
    remove()
    said = labs_cli("sync")
    assert (said.code, "1 runs and pipelines written" in said.err.replace("\n", " ")) == (0, True)
    (run,) = runs(Store(home, None))
    assert run.info.run_id != first
    assert "0 runs and pipelines written" in labs_cli("sync").err.replace("\n", " ")
    (folder,) = trained_folders(home)
    (folder / "result.json").unlink()
    write_record(folder, status="KILLED", ended=1.0)
    remove()
    again = labs_cli(*TRAIN)
    assert (again.code, "warning" in again.err) == (0, False), again.err
    assert {run.info.status for run in runs(Store(home, None))} == {"FINISHED"}
    assert "val/mse" in Store(home, None).client().get_run(again.json["run_id"]).data.metrics


def test_what_came_before_a_second_end_of_the_same_kind_is_written(labs_cli: Cli, home: Path) -> None:
    """A run is killed, mirrored, continued while the store is down, and killed once more: the epoch is not lost."""
    run_id = labs_cli(*TRAIN).json["run_id"]
    (folder,) = trained_folders(home)
    (folder / "result.json").unlink()
    write_record(folder, status="KILLED", ended=1.0)
    assert labs_cli("sync").code == 0
    (folder / "checkpoints" / "step-9").mkdir(parents=True)
    events.append(folder, {"time": 2.0, "step": 9, "metrics": {"val/mse": 1.5}})
    write_record(folder, ended=2.0)
    assert "1 runs and pipelines written" in labs_cli("sync").err.replace("\n", " ")
    client = Store(home, None).client()
    assert 9 in [point.step for point in client.get_metric_history(run_id, "val/mse")]


def test_a_deleted_experiment_is_restored(labs_cli: Cli, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    labs_cli(*TRAIN)
    store = Store(home, None)
    store.client().delete_experiment(store.experiment)
    said = labs_cli(*TRAIN, "--seed", "21")
    assert said.code == 0
    assert "was deleted: restored" in caplog.text
    rows = labs_cli("compare", "--store", store.uri, "--json").json
    assert rows[0]["seeds"] == [0, 21]


def test_files_go_below_the_home_and_nothing_into_the_current_folder(
    labs_cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    trained = labs_cli(*TRAIN, "--store", f"sqlite:///{tmp_path / 'elsewhere.db'}").json
    assert list(here.iterdir()) == []
    client = Store(home, f"sqlite:///{tmp_path / 'elsewhere.db'}").client()
    assert client.get_run(trained["run_id"]).info.artifact_uri.startswith((home / "artifacts").as_uri())
    assert client.get_experiment("0").artifact_location.startswith((home / "artifacts").as_uri())


@pytest.mark.parametrize(
    ("place", "remedy"), [("file:///not/here/artifacts", "MLFLOW_EXPERIMENT_NAME"), ("mlflow-artifacts:/1", "--store")]
)
def test_files_that_can_not_go_where_an_experiment_keeps_them_are_told_before_training(
    labs_cli: Cli, home: Path, other: str, monkeypatch: pytest.MonkeyPatch, place: str, remedy: str
) -> None:
    """The home that made the experiment is on another machine: its folder is not made here, the numbers are written."""
    from mlflow import MlflowClient

    client = MlflowClient(other)
    made = client.create_experiment("ml-labs", place)
    said = labs_cli(*TRAIN, "--store", other)
    assert said.code == 0
    assert remedy in said.err[: said.err.index("RUNNING")]
    run = client.get_run(said.json["run_id"])
    assert (run.info.status, "test/mse" in run.data.metrics) == ("FINISHED", True)
    assert not Path("/not").exists()
    assert labs_cli("sync", "--store", other).code == 1
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert labs_cli("sync", "--store", other).code == 0
    assert (home / "artifacts" / runs(Store(home, other))[0].info.run_id).exists()
    assert len(client.search_runs([made])) == 1


def test_mlflow_s_own_variables_name_store_and_experiment(
    labs_cli: Cli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, flag = f"sqlite:///{tmp_path / 'theirs.db'}", f"sqlite:///{tmp_path / 'flag.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", theirs)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "it's mine")
    labs_cli(*TRAIN)
    store = Store(home, theirs)
    assert len(runs(store)) == 1
    assert store.client().get_experiment(store.experiment).name == "it's mine"
    labs_cli("sync", "--store", flag)
    assert len(runs(Store(home, flag))) == 1
    assert os.environ["MLFLOW_TRACKING_URI"] == theirs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///somewhere/mlruns")
    assert labs_cli(*TRAIN, "--seed", "1").code == 2


def test_a_store_s_uri_is_not_left_in_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts it there, password included, for every process that is started later."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Store(home, None).client()
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:p#s/w@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("http://TOKEN@host", "http://***@host"),
        ("https://host/a?token=abc&x=1", "https://host/a?token=***&x=***"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dabc", "mssql+pyodbc:///?odbc_connect=***"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("me:p@ss@host:8265", "me:***@host:8265"),
        ("host:8265", "host:8265"),
    ],
)
def test_secrets_of_a_uri_are_not_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == shown
    assert without_secrets(f"can't open {uri}", uri) == f"can't open {shown}"


def test_secrets_of_a_uri_are_not_in_a_driver_s_words_either() -> None:
    assert without_secrets("no 'p@ss' for me", "postgresql://me:p%40ss@host/db") == "no '***' for me"
    assert without_secrets("PWD=abc refused", "mssql+pyodbc:///?odbc_connect=PWD%3Dabc") == "*** refused"


def test_mlflow_prints_no_address_with_a_password(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = {"info": {"run_id": "a", "experiment_id": "1", "status": "FINISHED", "run_name": "n"}, "data": {}}
    answers = {
        "get-by-name": (200, {"experiment": {**EXPERIMENT, "artifact_location": "mlflow-artifacts:/1"}}),
        "runs/update": (200, {"run_info": run["info"]}),
        "runs/get": (200, {"run": run}),
    }
    with server(answers) as host:
        Store(home, f"http://admin:secret@{host}").client().set_terminated("a")
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err


def test_a_user_without_a_name_can_train(labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a bare number."""

    def nobody(_: int) -> None:
        raise KeyError("uid not found")

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    snapshot.code_version.cache_clear()
    trained = labs_cli(*TRAIN)
    snapshot.code_version.cache_clear()
    assert trained.code == 0
    assert Store(home, None).client().get_run(trained.json["run_id"]).data.tags["mlflow.user"] == str(os.getuid())


def test_an_error_of_the_store_that_nobody_foresaw_does_not_end_a_run(
    labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something new")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "sync_all", fail)
        said = labs_cli(*TRAIN)
    assert said.code == 0
    assert "something new" in said.err
    assert labs_cli("sync").code == 0


def test_the_mirror_goes_on_after_an_error_of_any_class(
    labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labs_cli(*TRAIN)
    (pipeline,) = (home / "pipelines").iterdir()
    (run,) = trained_folders(home)
    (run / MIRROR).unlink()
    monkeypatch.setattr(mirroring, "MIRROR_EVERY_S", 0.01)
    monkeypatch.setattr(mirroring, "RETRY_S", 0.01)
    errors = [RuntimeError("new"), NotMirrored(f"{run} can't be written"), NotMirrored("again")]
    written: list[Path] = []

    class Unlucky(Store):
        def sync(self, folder: Path) -> str:
            if errors:
                raise errors.pop(0)
            written.append(folder)
            return ""

    said: list[str] = []
    with Mirroring(pipeline, Unlucky(home, None), said.append):
        deadline = time.monotonic() + 10
        while len(written) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert {run} == set(written)
    assert ["new" in said[0], str(run) in said[1]] == [True, True]


def test_a_row_that_another_home_has_just_written_is_taken_over(
    labs_cli: Cli, home: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two homes log the same data set at once: PostgreSQL tells the slower one of a duplicate key."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    labs_cli(*TRAIN)
    log_inputs, refusals = MlflowClient.log_inputs, ["(psycopg2.errors.UniqueViolation) duplicate key dataset_pk"]

    def log_or_refuse(client: Any, *arguments: Any) -> None:
        if refusals:
            raise MlflowException(refusals.pop())
        log_inputs(client, *arguments)

    monkeypatch.setattr(MlflowClient, "log_inputs", log_or_refuse)
    assert labs_cli("sync", "--store", other).code == 0
    written = runs(Store(home, other))
    assert [len(run.inputs.dataset_inputs) for run in written if "labs.lab" in run.data.tags] == [1]
    assert {run.info.status for run in written} == {"FINISHED"}


def open_store(home: Path, uri: str) -> None:
    os.dup2(os.open(home / "err", os.O_CREAT | os.O_WRONLY), 2)
    Store(home, uri).client()


@pytest.mark.slow
def test_homes_that_open_one_fresh_store_at_once_share_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    homes = [tmp_path / "home0", tmp_path / "home1"]
    for home in homes:
        home.mkdir()
    started = [forked.server().Process(target=open_store, args=(home, uri)) for home in homes]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [((home / "err").read_text(), process.exitcode) for home, process in zip(homes, started, strict=True)] == [
        ("", 0)
    ] * 2
    names = [found.name for found in Store(homes[0], uri).client().search_experiments()]
    assert sorted(names) == ["Default", "ml-labs"]


@pytest.mark.parametrize("command", [("compare",), ("sync",), ("ui",)])
def test_a_store_that_is_down_is_one_sentence_of_every_command(
    labs_cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    labs_cli(*TRAIN)
    said = labs_cli(*command, "--store", f"sqlite:///{tmp_path}")
    assert said.code == 1
    assert said.err.count("error: ") == 1
    assert ("can't be read" if command == ("compare",) else "can't be written") in said.err
    assert "Traceback" not in said.err


def test_a_pipeline_s_name_may_hold_a_quote(labs_cli: Cli, other: str) -> None:
    said = labs_cli("compare", "--store", other, "--pipeline", "it's")
    assert said.code == 2
    assert '''no pipeline "it's"''' in said.err
