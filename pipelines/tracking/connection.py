"""Opens an MLflow store: sees that it answers, and makes what is missing, a database's tables and the experiment."""

import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from cluster.uri import is_database, kind_of
from labs.core.errors import BadInput
from pipelines.error_file import first_line
from pipelines.home import locked
from pipelines.tracking.store_uri import sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

ENVIRONMENT = {
    # An unreachable server must not hold up training: MLflow's own defaults retry for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "PGCONNECT_TIMEOUT": "5",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with the password that stands in it
}
T = TypeVar("T")
TRACKING_URI = "MLFLOW_TRACKING_URI"
REACH_S = 5
"""Seconds that a store has to answer at all when it is opened."""
OPEN_S = 10.0
"""Seconds in which it must have been opened and judged: a server may say its version and answer nothing else."""
CONNECT_ARGS = {"mysql": {"connect_timeout": REACH_S}, "mssql": {"timeout": REACH_S}}
"""The same for drivers of databases; PostgreSQL's reads PGCONNECT_TIMEOUT."""
RETRY_AFTER_S = (1.0, 2.0, 4.0)
REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
"""How MLflow calls what a server answers with 401 or 403."""
ARTIFACT_PACKAGES = {
    "s3": "boto3", "r2": "boto3", "b2": "boto3", "gs": "google-cloud-storage", "wasbs": "azure-storage-blob",
}  # fmt: skip
"""Where a store may keep files -> the distribution that writes there."""


def open_store(home: Path, uri: str, experiment: str) -> tuple["MlflowClient", str]:
    """A client of the store, and the id of the experiment.

    Raises:
        BadInput: a package is missing that the store needs.
        Exception: the store does not answer, or refuses; MLflow, databases and their drivers have many classes.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _set_uri(uri)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    if sqlite_file(uri):  # made here, in the time that this machine takes for it
        return _open(home, uri, experiment)
    return _in_time(lambda: _open(home, uri, experiment))


def _in_time(work: Callable[[], T]) -> T:
    """What a function returns or raises; `ConnectionError` if that takes longer than `OPEN_S`.

    MLflow and the drivers of databases have limits of their own for each call, longer ones and not for all; the thread
    of a call that never ends is left alone.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=run, name="open-store", daemon=True).start()
    if not wait([answer], OPEN_S).done:
        raise ConnectionError(f"it has not answered what was asked of it within {OPEN_S:g} s")
    return answer.result()


def _open(home: Path, uri: str, experiment: str) -> tuple["MlflowClient", str]:
    import mlflow

    artifacts = (home / "artifacts").as_uri() if is_database(uri) else None
    if artifacts:
        _open_database(home, uri, artifacts)
    elif uri.startswith("http"):
        _reach_server(uri)
    client = mlflow.MlflowClient(uri)
    return client, _experiment(client, experiment, artifacts)


def _set_uri(uri: str) -> None:
    """What MLflow's functions without a client use."""
    import mlflow  # which takes seconds that are not the store's

    before = os.environ.pop(TRACKING_URI, None)
    mlflow.set_tracking_uri(uri)
    # MLflow puts it into the environment too, where every child process would find the password.
    os.environ.pop(TRACKING_URI, None)
    if before is not None:
        os.environ[TRACKING_URI] = before


def _open_database(home: Path, uri: str, artifacts: str) -> None:
    """Tables and MLflow's own first experiment, whose files must not go into the current folder's `mlruns`.

    Two processes that make the tables at once break them. Those of an SQLite file are kept apart by a lock beside the
    file, those of one home by a lock in it; of several homes that open one fresh server, the slower ones try again.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        with locked(Path(f"{file}.lock"), "creating the MLflow store"):
            return _make_sqlite(file, artifacts)
    _reach_database(uri)
    if file is not None:
        return None
    with locked(home / "mlflow.lock", "creating the MLflow store"):
        for wait in RETRY_AFTER_S:
            with suppress(MlflowException, SQLAlchemyError):
                SqlAlchemyStore(uri, artifacts)
                return None
            time.sleep(wait)
        SqlAlchemyStore(uri, artifacts)


def _make_sqlite(file: Path, artifacts: str) -> None:
    """Make a fresh SQLite store whole or not at all: MLflow can't go on with tables that a kill left half made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if file.exists():  # another process has made it meanwhile
        return
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{part}", artifacts).engine.dispose()
    os.replace(part, file)


def _reach_database(uri: str) -> None:
    """Connect once: MLflow would try ten times, for 101 s, what is refused or not answered."""
    import sqlalchemy

    arguments = CONNECT_ARGS.get(kind_of(uri), {})
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool, connect_args=arguments)
    sqlalchemy.inspect(engine)


def _reach_server(uri: str) -> None:
    """Ask a server for its version; one that does not say it may still be an MLflow server behind a gateway."""
    import requests

    try:
        answer = requests.get(f"{uri.rstrip('/')}/version", timeout=REACH_S)
    except requests.exceptions.SSLError:
        return  # MLflow has settings of its own for certificates
    except (requests.ConnectionError, requests.Timeout):
        raise ConnectionError(f"no server answers there within {REACH_S} s") from None
    if answer.ok and re.fullmatch(r"[012]\.\d+[\w.]*", answer.text.strip()):
        raise ConnectionError(f"the server runs MLflow {answer.text.strip()}; version 3 or a newer one is needed there")


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> str:
    """Id of the experiment, made if it is missing and restored if it was deleted.

    Args:
        client: of the store.
        name: the experiment's name.
        artifacts: where a new experiment keeps files; None leaves that to the server.
    """
    found = _find_experiment(client, name)
    if found is None or found.lifecycle_stage != "active":
        found = _make_or_restore(client, name, found, artifacts)
    _check_artifacts(found.artifact_location)
    return str(found.experiment_id)


def _find_experiment(client: "MlflowClient", name: str) -> "Experiment | None":
    """The experiment, deleted or not: MLflow finds both by name."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment_by_name(name)
    except MlflowException as error:
        if error.error_code not in REFUSED:
            raise
        raise PermissionError(
            "the server does not let this user in: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            f"MLFLOW_TRACKING_TOKEN ({first_line(error)})"
        ) from None


def _make_or_restore(
    client: "MlflowClient", name: str, found: "Experiment | None", artifacts: str | None
) -> "Experiment":
    from mlflow.exceptions import MlflowException

    fault = ""
    try:
        if found is None:
            client.create_experiment(name, artifacts)
        else:
            client.restore_experiment(found.experiment_id)
            logging.getLogger("labs").warning("warning: MLflow's experiment %r was deleted: restored", name)
    except MlflowException as error:
        fault = first_line(error)
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":  # else another process did it in this moment
        raise PermissionError(
            f"experiment {name!r} can't be {'restored' if found else 'made'} there: ask for the right to do so, or "
            f"name an experiment that you may write to in MLFLOW_EXPERIMENT_NAME ({fault})"
        )
    return found


def _check_artifacts(location: str) -> None:
    package = ARTIFACT_PACKAGES.get(location.partition(":")[0])
    if package:
        try:
            metadata.distribution(package)
        except metadata.PackageNotFoundError:
            raise BadInput(
                f"the MLflow store keeps files at {location}, which needs the Python package {package}: "
                f"pip install {package}"
            ) from None
