"""The one MLflow writer: it mirrors run folders into the store, and completes what a process that died left unfinished.

A run's folder is the truth. Each folder's `mirror.json` says, for each store, which MLflow run mirrors it and how far.
Only what a checkpoint or the end of the run has made final is mirrored, so nothing that a resumed run does again was
written before. Written twice, an event is the same (timestamp, step, value), which the store keeps once.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from labs.core import events
from pipelines.error_file import first_line
from pipelines.home import KINDS, locked, read_record, records, result
from pipelines.system_load import SYSTEM
from pipelines.tracking import snapshot
from pipelines.tracking.connection import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

MIRROR = "mirror.json"
"""For each store the id of the MLflow run (`run_id`), how many events it has of each kind (`metrics`, `system`), and
the status with which it was closed (`ended`; "" while it is open)."""
CHUNK = 1000
"""Metrics in one call; MLflow takes no more."""
PARAM_LENGTH = 6000
KEY = "labs.key"
"""Tag with the folder's own unique key: how a run is found again if the process died before it noted the id."""
SECONDS = "labs.seconds"
"""Tag with the seconds that all commands worked on the run: from start to end it may have paused."""


class StoreUnreachable(Exception):
    """The store could not be written; the message names its URI."""


class Store:
    """A connection to an MLflow store, opened at the first write.

    Args:
        home: the home folder.
        uri: the store; by default an SQLite file under the home folder, with artifacts beside it.
    """

    def __init__(self, home: Path, uri: str | None) -> None:
        self.home = home
        self.uri = uri or f"sqlite:///{home / 'mlflow.db'}"
        self.shown_uri = without_password(self.uri)
        self.name = hashlib.sha256(self.shown_uri.encode()).hexdigest()[:12]
        self._client: MlflowClient | None = None
        self.experiment = ""

    def client(self) -> "MlflowClient":
        """The client, with schema and experiment there."""
        if self._client is None:
            self._client, self.experiment = open_store(self.home, self.uri)
        return self._client

    def sync(self, folder: Path) -> str:
        """Mirror one folder as far as it is final; again for what has come since. Returns the MLflow run's id.

        Raises:
            StoreUnreachable: nothing is lost; a later call completes the mirror.
        """
        import sqlalchemy.exc
        from mlflow.exceptions import MlflowException

        try:
            with locked(folder / "mirror.lock", "mirroring"):
                return Mirror(self, folder).sync()
        except (MlflowException, OSError, sqlalchemy.exc.SQLAlchemyError) as error:
            self._client = None
            raise StoreUnreachable(f"MLflow store {self.shown_uri} can't be written: {self.reason(error)}") from None

    def reason(self, error: BaseException) -> str:
        """The first line of an error of the store, without the password of its URI."""
        line, password = first_line(error)[:300], urlsplit(self.uri).password
        return line.replace(password, "***") if password else line

    def sync_all(self) -> int:
        """Mirror everything below the home folder, parents first; returns how many folders were incomplete."""
        pending = [
            folder
            for kind in KINDS
            for folder, record in records(self.home, kind)
            if not is_mirrored(folder, record, self.name)
        ]
        for folder in pending:
            self.sync(folder)
        return len(pending)


class Mirror:
    """One folder's mirror in one store, as its files say while `mirror.lock` is held: from reading them to `sync`."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder, self.client = store, folder, store.client()
        self.record = read_record(folder)
        self.all = _mirrors(folder)
        self.done = self.all.setdefault(store.name, {"metrics": 0, "system": 0, "ended": ""})

    def sync(self) -> str:
        """Write what the store does not have yet; returns the MLflow run's id."""
        run_id = self.done.get("run_id") or self._open()
        if self.done["ended"] and self.done["ended"] != self.record["status"]:
            self.client.update_run(run_id, status="RUNNING")  # it was continued
            self._note(ended="")
        self._metrics(run_id, "metrics", snapshot.final_events(self.folder))
        self._metrics(run_id, "system", events.read(self.folder / SYSTEM))
        if self.record["status"] in ("FINISHED", "FAILED", "KILLED") and not self.done["ended"]:
            self._close(run_id)
        return str(run_id)

    def _open(self) -> str:
        """The folder's run in the store, found by its key or made, with parameters, data set and tags."""
        key = self.record["key"]
        found = self.client.search_runs([self.store.experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        run = found[0] if found else self._create(key)
        run_id: str = run.info.run_id
        params = _params(self.record["params"])
        for chunk in _chunks(params, 100):
            self.client.log_batch(run_id, params=chunk)
        if "data" in self.record and not run.inputs.dataset_inputs:
            self.client.log_inputs(run_id, [snapshot.dataset(self.record)])
        self._note(run_id=run_id)
        return run_id

    def _create(self, key: str) -> Any:
        tags = {KEY: key, **self.record["tags"], **snapshot.code_version()}
        if self.record.get("parent"):
            tags["mlflow.parentRunId"] = self.store.sync(Path(self.record["parent"]))
        started = int(self.record["created"] * 1000)
        return self.client.create_run(self.store.experiment, started, tags, run_name=self.record["name"])

    def _metrics(self, run_id: str, kind: str, written: list[dict[str, Any]]) -> None:
        from mlflow.entities import Metric

        new = written[self.done[kind] :]
        metrics = [
            Metric(name, value, int(event["time"] * 1000), event["step"])
            for event in new
            for name, value in event["metrics"].items()
        ]
        for chunk in _chunks(metrics, CHUNK):
            self.client.log_batch(run_id, metrics=chunk)
        if new:
            self._note(**{kind: len(written)})

    def _close(self, run_id: str) -> None:
        """What is only there at the end: tags that changed, files, the model, the status.

        A model can't be logged while a bare run trains in this process; then a later call closes the run.
        """
        # Of a sweep's many trials only the best one's model goes into the store.
        served = bool(result(self.folder)) and self.record.get("serve", True)
        if served and not self.client.get_run(run_id).outputs.model_outputs:
            signature = snapshot.model_signature(self.folder)
            if signature is None:
                return
            snapshot.log_model(self.folder, run_id, signature)
        if served and (alias := self.record.get("alias")):
            snapshot.register(self.client, self.record["lab"], alias, run_id)
        tags = {SECONDS: self.record["seconds"], **self.record.get("end_tags", {})}
        for name, value in tags.items():
            self.client.set_tag(run_id, name, str(value)[:PARAM_LENGTH])
        for artifact in snapshot.artifacts(self.folder):
            self.client.log_artifact(run_id, str(artifact), snapshot.artifact_folder(self.folder, artifact))
        ended = int(self.record.get("ended", time.time()) * 1000)
        self.client.set_terminated(run_id, self.record["status"], ended)
        self._note(ended=self.record["status"])

    def _note(self, **fields: Any) -> None:
        self.done.update(fields)
        events.write_text(self.folder / MIRROR, json.dumps(self.all, indent=2))


def reopen(folder: Path) -> None:
    """Let an ended folder's end be mirrored once more: something was added to it."""
    with locked(folder / "mirror.lock", "mirroring"):
        mirrors = _mirrors(folder)
        events.write_text(folder / MIRROR, json.dumps({name: {**done, "ended": ""} for name, done in mirrors.items()}))


def is_mirrored(folder: Path, record: dict[str, Any], store: str) -> bool:
    """Whether the store has all of a folder, its end included."""
    done = _mirrors(folder).get(store, {})
    return bool(done.get("ended")) and done["ended"] == record["status"]


def run_id(folder: Path, store: Store) -> str | None:
    """Id of the MLflow run that mirrors a folder, if there is one yet."""
    found = _mirrors(folder).get(store.name, {}).get("run_id")
    return None if found is None else str(found)


def run_ids(folder: Path) -> list[str]:
    """Ids of the MLflow runs that mirror a folder, in whatever store."""
    return [mirror["run_id"] for mirror in _mirrors(folder).values() if "run_id" in mirror]


def _mirrors(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / MIRROR
    return json.loads(path.read_text()) if path.exists() else {}


def without_password(uri: str) -> str:
    """A URI that may be shown: the password, if any, is left out."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))


def _params(values: dict[str, Any]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, str(value)[:PARAM_LENGTH]) for name, value in values.items()]


def _chunks(items: list[Any], length: int) -> Iterable[list[Any]]:
    return (items[i : i + length] for i in range(0, len(items), length))
