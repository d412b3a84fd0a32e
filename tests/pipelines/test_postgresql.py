"""A real PostgreSQL as the store: several homes at once, a server that stops, users and databases that are refused."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.home import read_record
from pipelines.show import runs
from pipelines.tracking import connection, mirroring, writer
from pipelines.tracking.writer import MIRROR, Store, search
from tests.conftest import Said
from tests.forked import LabsProcess
from tests.pipelines.postgresql import PASSWORD, QUOTED, Server, is_missing, running

Cli = Callable[..., Said]
pytestmark = [pytest.mark.slow, is_missing]
TRAIN = ("train", "regression", "--size", "tiny", "--workers", "0", "--json")
EPOCHS = 40
LONG = ("--preset", "strong", "--set", f"epochs={EPOCHS}", "--set", f"patience={EPOCHS}")
HOMES = 3


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@dataclass
class Trained:
    """What several homes wrote at once into a fresh database."""

    uri: str
    here: Path
    homes: list[Path]
    codes: list[int]

    def runs(self) -> list[Any]:
        store = Store(self.homes[0], self.uri)
        return search(store.client(), store.experiment)


@pytest.fixture(scope="module")
def trained(server: Server, data_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    server.sql("CREATE DATABASE fresh")
    base = tmp_path_factory.mktemp("homes")
    (base / "here").mkdir()
    (data_home / "data").mkdir(exist_ok=True)
    homes = [base / f"home{number}" for number in range(HOMES)]
    for home in homes:
        home.mkdir()
        (home / "data").symlink_to(data_home / "data")
    enter = partial(os.chdir, base / "here")
    processes = [
        LabsProcess([*TRAIN, "--home", str(home), "--store", server.uri("fresh")], dict(os.environ), home, enter)
        for home in homes
    ]
    codes = [process.wait(timeout=200) for process in processes]
    return Trained(server.uri("fresh"), base / "here", homes, codes)


def test_homes_that_write_into_one_fresh_database_at_once_are_all_there_once(trained: Trained) -> None:
    said = [(home / "err").read_text() for home in trained.homes]
    assert trained.codes == [0] * HOMES, said
    assert not any("warning" in text or "Traceback" in text for text in said), said
    runs = trained.runs()
    folders = [run.data.tags["labs.folder"] for run in runs]
    assert sorted(folders) == sorted(str(folder) for home in trained.homes for folder in (home / "runs").iterdir())
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_files_of_all_homes_lie_below_the_home_that_made_the_experiment_each_run_s_apart(trained: Trained) -> None:
    assert list(trained.here.iterdir()) == []
    places = [Path(run.info.artifact_uri.removeprefix("file://")) for run in trained.runs()]
    assert len(set(places)) == HOMES
    assert all((place / "record.json").exists() for place in places), places
    (owner,) = {place.parents[1] for place in places}
    assert owner in [home / "artifacts" for home in trained.homes]


def test_homes_that_register_the_same_model_at_once_have_it_once(trained: Trained) -> None:
    from mlflow.exceptions import MlflowException

    stores = [Store(home, trained.uri) for home in trained.homes]
    for store in stores:
        store.open()
    for _ in range(5):
        with suppress(MlflowException):  # there may be none
            stores[0].client().delete_registered_model("labs-regression")
        with ThreadPoolExecutor(HOMES) as threads:
            faults_of_all = [faults for _, faults in threads.map(Store.sync_all, stores)]
        assert faults_of_all == [[]] * HOMES
        best = stores[0].client().get_model_version_by_alias("labs-regression", "best")
        assert best.run_id in {run.info.run_id for run in trained.runs()}


def test_compare_reads_the_runs_of_all_homes(trained: Trained, labs_cli: Cli) -> None:
    (row,) = labs_cli("compare", "--store", trained.uri, "--json").json
    assert (row["lab"], row["seeds"]) == ("regression", [0] * HOMES)
    assert "p@ss" not in labs_cli("compare", "--store", trained.uri).err


def test_the_tables_of_a_fresh_database_may_take_longer_than_an_answer(
    server: Server, labs_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "OPEN_S", 1.0)
    server.sql("CREATE DATABASE slow")
    said = labs_cli("compare", "--store", server.uri("slow"))
    assert (said.code, "has no finished run" in said.err) == (0, True), said.err


@pytest.mark.parametrize(("halt", "resume"), [(Server.stop, Server.start), (Server.freeze, Server.thaw)])
def test_a_database_that_stops_or_hangs_while_a_run_trains_loses_nothing(
    server: Server, trained: Trained, labs_cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch,
    halt: Callable[[Server], None], resume: Callable[[Server], None],
) -> None:  # fmt: skip
    monkeypatch.setattr(mirroring, "MIRROR_EVERY_S", 0.05)
    monkeypatch.setattr(mirroring, "END_WAIT_S", 1.0)
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    halted: list[float] = []

    def halt_when_mirrored() -> None:
        deadline = time.monotonic() + 60
        while not list(home.glob(f"runs/*/{MIRROR}")) and time.monotonic() < deadline:
            time.sleep(0.01)
        halt(server)
        halted.append(time.time())

    halting = threading.Thread(target=halt_when_mirrored)
    halting.start()
    try:
        said = labs_cli(*TRAIN, *LONG, "--store", trained.uri)
        ended = time.time()
    finally:
        halting.join()
        resume(server)
    (folder,) = (home / "runs").iterdir()
    trained_until = read_record(folder)["ended"]
    assert halted[0] < trained_until < ended < trained_until + 20
    assert said.code == 0, said.err
    assert "can't be written" in said.err
    assert "Traceback" not in said.err
    assert labs_cli("sync", "--store", trained.uri).code == 0
    client = Store(home, trained.uri).client()
    run = client.get_run(said.json["run_id"])
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "val/mse")]
    assert run.info.status == "FINISHED"
    assert steps == list(range(1, EPOCHS + 1))


@pytest.mark.parametrize("command", ["sync", "compare"])
def test_a_command_whose_database_hangs_ends_with_a_sentence(
    server: Server, trained: Trained, labs_cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It waited for ever."""

    def frozen_first(*arguments: Any, **named: Any) -> Any:
        server.freeze()
        return search(*arguments, **named)

    monkeypatch.setattr(writer, "ASK_AFTER_S", 1.0)
    monkeypatch.setattr(writer if command == "sync" else runs, "search", frozen_first)
    try:
        said = labs_cli(command, "--store", trained.uri)
    finally:
        server.thaw()
    assert said.code == 1
    text = " ".join(said.err.split())
    assert "it has not answered" in text or "timeout expired" in text, text
    assert "Traceback" not in text


@pytest.fixture(scope="module")
def refusing(server: Server, trained: Trained) -> Server:
    """The server, with a database in which the user guest may do nothing, and one in which he may only read."""
    server.sql(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    server.sql("CREATE DATABASE closed")
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest", "fresh")
    return server


@pytest.mark.parametrize(
    ("user", "password", "database", "remedy"),
    [
        ("guest", "wr0ng", "fresh", "check the user and the password"),
        ("guest", QUOTED, "nothing", "make the database"),
        ("guest", QUOTED, "closed", "the right to make tables"),
        ("guest", QUOTED, "fresh", "the right to make tables and write"),
    ],
)
def test_a_database_that_refuses_is_told_with_what_to_do_before_training(
    refusing: Server, labs_cli: Cli, home: Path, user: str, password: str, database: str, remedy: str
) -> None:
    said = labs_cli(*TRAIN, "--store", refusing.uri(database, user, password))
    (pipeline,), (run,) = (home / "pipelines").iterdir(), (home / "runs").iterdir()
    assert read_record(run)["started"] - read_record(pipeline)["created"] < 10
    assert said.code == 0
    text = " ".join(said.err.split())
    assert remedy in text[: text.index("RUNNING")], text
    assert not any(secret in text for secret in (PASSWORD, QUOTED, "wr0ng", "Traceback"))
