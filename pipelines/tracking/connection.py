"""Opens an MLflow store: sees that it answers, and makes the experiment where it is missing."""

import logging
import os
import re
from collections.abc import Callable
from concurrent.futures import wait
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from cluster.uri import is_database
from cluster.waiting import in_thread
from labs.core.errors import BadInput
from pipelines.error_file import first_line
from pipelines.tracking.database import REACH_S, has_tables, open_database
from pipelines.tracking.store_uri import sqlite_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

ENVIRONMENT = {
    # An unreachable store must not hold up training: MLflow's own defaults retry for minutes, and so do boto3's.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "PGCONNECT_TIMEOUT": "5",
    "AWS_DEFAULTS_MODE": "standard",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # with the password that stands in it
}
T = TypeVar("T")
TRACKING_URI = "MLFLOW_TRACKING_URI"
OPEN_S = 10.0
"""Seconds in which a store must have been opened and judged: it may say its version and answer nothing else."""
MAKE_S = 60.0
"""The same for a database without MLflow's tables, which are made first, perhaps by another home."""
REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
"""How MLflow calls what a server answers with 401 or 403."""
BEHIND_PROXY = (502, 503, 504)
"""What a proxy answers whose server is down or does not answer."""
ARTIFACT_PACKAGES = {
    "s3": "boto3", "r2": "boto3", "b2": "boto3", "gs": "google-cloud-storage", "wasbs": "azure-storage-blob",
}  # fmt: skip
"""Where a store may keep files -> the distribution that writes there."""


def open_store(home: Path, uri: str, experiment: str) -> tuple["MlflowClient", "Experiment"]:
    """A client of the store, and the experiment.

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
    is_empty = is_database(uri) and not _in_time(lambda: has_tables(uri), OPEN_S)
    return _in_time(lambda: _open(home, uri, experiment), MAKE_S if is_empty else OPEN_S)


def _in_time(work: Callable[[], T], limit_s: float) -> T:
    """What a function returns or raises; `ConnectionError` if that takes longer than the limit.

    MLflow and the drivers of databases have limits of their own for each call, longer ones and not for all.
    """
    answer = in_thread(work)
    if not wait([answer], limit_s).done:
        raise ConnectionError(f"it has not answered what was asked of it within {limit_s:g} s")
    return answer.result()


def _open(home: Path, uri: str, experiment: str) -> tuple["MlflowClient", "Experiment"]:
    import mlflow

    artifacts = (home / "artifacts").as_uri() if is_database(uri) else None
    if artifacts:
        open_database(home, uri, artifacts)
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


def _reach_server(uri: str) -> None:
    """Ask a server for its version; one that does not say it may still be an MLflow server behind a gateway."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:  # as the user of MLflow's variables: with basic authentication a stranger does not learn the version
        answer = http_request(
            get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=REACH_S, raise_on_status=False
        )
    except MlflowException as error:
        if "SSLError" in str(error):
            raise
        raise ConnectionError(f"no server answers there within {REACH_S} s") from None
    if answer.status_code in BEHIND_PROXY:
        raise ConnectionError(f"a proxy answers there ({answer.status_code}), and the server behind it does not")
    if answer.ok and re.fullmatch(r"[012]\.\d+[\w.]*", answer.text.strip()):
        raise ConnectionError(f"the server runs MLflow {answer.text.strip()}; version 3 or a newer one is needed there")


def files_fault(home: Path, experiment: "Experiment") -> str:
    """Why a home's files can't go where a database's experiment keeps them, and what to do; empty if they can.

    MLflow keeps the files of all runs of an experiment in one place, which is `artifacts` in the home that made it. On
    a machine that does not have that home, MLflow would make the folder and leave the files there.
    """
    name, place = experiment.name, experiment.artifact_location
    if place.startswith("mlflow-artifacts:"):
        return f"experiment {name!r} keeps files behind an MLflow server: give the address of that server as --store"
    folder = Path(unquote(urlsplit(place).path))
    if not place.startswith("file:") or folder.is_relative_to(home) or os.access(folder.parent, os.W_OK):
        return ""
    return (
        f"experiment {name!r} keeps files in {folder}, of the home that made it, which can't be written from here: "
        "share that folder, or give this home an experiment of its own in MLFLOW_EXPERIMENT_NAME"
    )


def _experiment(client: "MlflowClient", name: str, artifacts: str | None) -> "Experiment":
    """The experiment, made if it is missing and restored if it was deleted.

    Args:
        client: of the store.
        name: the experiment's name.
        artifacts: where a new experiment keeps files; None leaves that to the server.
    """
    found = _find_experiment(client, name)
    if found is None or found.lifecycle_stage != "active":
        found = _make_or_restore(client, name, found, artifacts)
    _check_artifacts(found.artifact_location)
    return found


def _find_experiment(client: "MlflowClient", name: str) -> "Experiment | None":
    """The experiment, deleted or not: MLflow finds both by name."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment_by_name(name)
    except MlflowException as error:
        if error.error_code not in REFUSED:
            raise
        raise PermissionError(
            "the server does not let this user in: set or correct MLFLOW_TRACKING_USERNAME and "
            f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN ({first_line(error)})"
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
