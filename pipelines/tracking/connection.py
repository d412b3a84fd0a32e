"""Opens an MLflow store: makes what is missing, the schema of an SQLite file and the experiment."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.home import locked

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "ml-labs"
ENVIRONMENT = {
    # An unreachable server must not hold up training: MLflow's own defaults retry for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def open_store(home: Path, uri: str) -> tuple["MlflowClient", str]:
    """A client of the store, and the id of the experiment; one process at a time makes what is missing."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    mlflow.set_tracking_uri(uri)
    # Two processes that make the schema of a fresh store at once break it.
    with locked(home / "mlflow.lock", "creating the MLflow store"):
        local = uri.startswith("sqlite:")
        if local:
            _make_schema(Path(uri.removeprefix("sqlite:///")))
        client = mlflow.MlflowClient(uri)
        return client, _experiment(client, (home / "artifacts").as_uri() if local else None)


def _experiment(client: "MlflowClient", artifacts: str | None) -> str:
    """Id of the experiment, made if it is missing; `artifacts` is where the store keeps files."""
    from mlflow.exceptions import MlflowException

    if client.get_experiment_by_name(EXPERIMENT) is None:
        with suppress(MlflowException):  # another machine made it in this moment
            client.create_experiment(EXPERIMENT, artifacts)
    return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def _make_schema(file: Path) -> None:
    """Make a fresh SQLite store whole or not at all: MLflow can't go on with a schema that a kill left half made."""
    import mlflow

    if file.exists():
        return
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    mlflow.MlflowClient(f"sqlite:///{part}").search_experiments()
    os.replace(part, file)
