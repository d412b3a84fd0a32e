"""An MLflow server on PostgreSQL, with users and an S3 bucket: down, slow, refusing, without its bucket."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from pipelines import pipeline
from pipelines.tracking import mirroring
from pipelines.tracking.writer import MIRROR, Store, search
from tests.conftest import Said
from tests.faults.story import each_step_once
from tests.pipelines import postgresql
from tests.pipelines.tracking_server import ADMIN, BUCKET, KEYS, PASSWORD, Proxy

Cli = Callable[..., Said]
pytestmark = [
    pytest.mark.slow,
    postgresql.is_missing,
    pytest.mark.skipif(not (find_spec("moto") and find_spec("flask_wtf")), reason="moto or Flask-WTF is not installed"),
]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")
EPOCHS = 40
LONG = ("--preset", "strong", "--set", f"epochs={EPOCHS}", "--set", f"patience={EPOCHS}")
READER = "reader"


@dataclass
class Servers:
    """The MLflow server behind a proxy, and the S3 server."""

    proxy: Proxy
    s3: str

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def make_bucket(self, name: str = BUCKET) -> None:
        assert requests.put(f"{self.s3}/{name}", timeout=10).ok

    def remove_buckets(self) -> None:
        assert requests.post(f"{self.s3}/moto-api/reset", timeout=10).ok

    def files(self) -> list[str]:
        found = ElementTree.fromstring(requests.get(f"{self.s3}/{BUCKET}", timeout=10).text)
        return [key.text or "" for key in found.iter() if key.tag.endswith("}Key")]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("server")
    with postgresql.running() as database, (folder / "log").open("w") as log:
        database.sql("CREATE DATABASE mlflow")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipelines.tracking_server", str(folder)],
            env={**os.environ, "DATABASE": database.uri("mlflow")},
            stdout=log,
            stderr=log,
        )
        deadline = time.monotonic() + 120
        while not (folder / "addresses").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port, s3 = json.loads((folder / "addresses").read_text())
        servers = Servers(Proxy(port), s3)
        new = {"username": READER, "password": PASSWORD}
        url, login = f"{servers.uri}/api/2.0/mlflow/users/create", (ADMIN, PASSWORD)
        assert requests.post(url, json=new, auth=login, timeout=60).ok
        yield servers
        process.kill()
        process.wait()


@pytest.fixture
def servers(started: Servers, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """The servers, with a bucket, for a user whom the environment has named."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    started.make_bucket()
    return started


def runs_of(home: Path, uri: str) -> list[Any]:
    """The MLflow runs of a home's pipelines and runs."""
    store = Store(home, uri)
    found = search(store.client(), store.experiment)
    return [run for run in found if run.data.tags["labs.folder"].startswith(str(home))]


def is_complete(home: Path, uri: str) -> bool:
    """Whether a run is in the store: closed, each step once, the model with its files."""
    (run,) = runs_of(home, uri)
    (model,) = run.outputs.model_outputs
    return (
        run.info.status == "FINISHED"
        and each_step_once(home, run.info.run_id, uri)
        and Store(home, uri).client().get_logged_model(model.model_id).status == "READY"
    )


def before_training(said: Said) -> str:
    """What a command has said before it trained."""
    assert said.code == 0, said.err
    text = " ".join(said.err.split())
    return text[: text.index("RUNNING")]


def is_down(servers: Servers, said: Said) -> bool:
    """Whether a command has named the server, and what is wrong with it."""
    sentence = f"MLflow store {servers.uri} can't be written: ConnectionError: no server answers there within 5 s"
    return sentence in " ".join(said.err.split())


def test_a_server_that_is_down_at_the_end_gets_all_later_and_passwords_are_nowhere(
    servers: Servers, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is a few files, not one for each of the program's: a server takes each in a request of its own."""
    import mlflow

    complete = pipeline.complete_mirror
    monkeypatch.setattr(mirroring, "MIRROR_EVERY_S", 60.0)
    monkeypatch.setattr(pipeline, "complete_mirror", lambda *given: (servers.proxy.down(), complete(*given)))
    said = labs_cli(*TRAIN, "--store", servers.uri)
    servers.proxy.up()
    assert (said.code, said.err.count("warning: ")) == (0, 1), said.err
    assert is_down(servers, said)
    synced = labs_cli("sync", "--store", servers.uri)
    assert synced.code == 0, synced.err
    assert is_complete(home, servers.uri)
    assert len(servers.files()) < 25  # the code of a model is one of them
    (run,) = (run for run in runs_of(home, servers.uri) if "labs.lab" in run.data.tags)
    secrets = (PASSWORD, KEYS["AWS_SECRET_ACCESS_KEY"])
    written = [file.read_bytes() for file in home.rglob("*") if file.is_file() and not file.is_symlink()]
    shown = [said.out.encode(), said.err.encode(), synced.err.encode(), str(run.data).encode(), *written]
    assert not any(secret.encode() in text for secret in secrets for text in shown)
    for name in [name for name in sys.modules if name.partition(".")[0] == "labs"]:
        monkeypatch.delitem(sys.modules, name)  # as where the program is not installed
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.uri)
    model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    assert "labs.zip" in str(sys.modules["labs"].__file__)
    assert model.metadata.signature is not None


def test_a_server_that_goes_down_while_a_run_trains_loses_nothing(
    servers: Servers, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "MIRROR_EVERY_S", 0.05)

    def end_when_mirrored() -> None:
        deadline = time.monotonic() + 60
        while not list(home.glob(f"runs/*/{MIRROR}")) and time.monotonic() < deadline:
            time.sleep(0.01)
        servers.proxy.down()

    ending = threading.Thread(target=end_when_mirrored)
    ending.start()
    said = labs_cli(*TRAIN, *LONG, "--store", servers.uri)
    ending.join()
    servers.proxy.up()
    # One while it trains and one at its end, or that one alone where the run ended before the next look at the store.
    assert (said.code, said.err.count("warning: ") in (1, 2)) == (0, True), said.err
    assert is_down(servers, said)
    assert labs_cli("sync", "--store", servers.uri).code == 0
    assert is_complete(home, servers.uri)


def test_a_server_that_is_down_at_the_start_and_then_slow_holds_up_nothing(
    servers: Servers, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write all of it takes some forty answers; the command waited for each of them, in silence."""
    servers.proxy.down()
    said = labs_cli(*TRAIN, "--seed", "1", "--store", servers.uri)
    servers.proxy.up()
    assert "no server answers" in before_training(said)
    monkeypatch.setattr(pipeline, "MIRROR_END_S", 1.0)
    monkeypatch.setattr(servers.proxy, "delay_s", 0.2)
    started = time.monotonic()
    said = labs_cli(*TRAIN, "--store", servers.uri)
    assert time.monotonic() - started < 10
    assert (said.code, said.err.count("warning: ")) == (0, 1), said.err
    assert f"MLflow store {servers.uri} has not taken everything within 1 s" in " ".join(said.err.split())
    monkeypatch.setattr(servers.proxy, "delay_s", 0.0)
    assert labs_cli("sync", "--store", servers.uri).code == 0
    found = runs_of(home, servers.uri)
    assert [run.info.status for run in found] == ["FINISHED"] * 2
    assert all(each_step_once(home, run.info.run_id, servers.uri) for run in found)


def test_a_bucket_that_is_missing_is_told_before_training_and_sync_completes_the_files(
    servers: Servers, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server writes to it; in another experiment this process. A model without its files counted as written."""
    from mlflow import MlflowClient

    servers.remove_buckets()
    said = labs_cli(*TRAIN, "--store", servers.uri)
    assert "see its log, and whether the bucket or folder of its --artifacts-destination" in before_training(said)
    assert not is_complete(home, servers.uri)
    servers.make_bucket(BUCKET)
    assert labs_cli("sync", "--store", servers.uri).code == 0
    assert is_complete(home, servers.uri)
    MlflowClient(servers.uri).create_experiment("direct", "s3://others/1")
    for name, value in (KEYS | {"MLFLOW_S3_ENDPOINT_URL": servers.s3, "MLFLOW_EXPERIMENT_NAME": "direct"}).items():
        monkeypatch.setenv(name, value)
    said = labs_cli("sync", "--store", servers.uri)
    assert said.code == 1
    assert "make the bucket" in " ".join(said.err.split())
    servers.make_bucket("others")
    assert labs_cli("sync", "--store", servers.uri).code == 0
    assert is_complete(home, servers.uri)


@pytest.mark.parametrize(
    ("user", "password", "remedy"),
    [(ADMIN, "wr0ng-password", "MLFLOW_TRACKING_PASSWORD"), (READER, PASSWORD, "MLFLOW_EXPERIMENT_NAME")],
)
def test_a_user_who_is_not_let_in_or_may_only_read_is_told_before_training(
    servers: Servers, labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, user: str, password: str, remedy: str
) -> None:
    Store(Path(), servers.uri).client()  # the experiment is the administrator's
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    said = labs_cli(*TRAIN, "--store", servers.uri)
    assert remedy in before_training(said)
    assert password not in said.err
