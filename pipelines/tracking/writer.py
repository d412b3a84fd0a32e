"""The one MLflow writer: mirrors run folders into a store, and completes what a process that died left unfinished."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.uri import is_database, without_password, without_secrets
from cluster.waiting import in_thread
from labs.core import events
from labs.core.errors import BadInput
from pipelines.error_file import first_line
from pipelines.home import KINDS, has_record, locked, read_record, records
from pipelines.tracking import registry
from pipelines.tracking.connection import files_fault, open_store
from pipelines.tracking.database import SAME_ROW
from pipelines.tracking.experiment import write_file, write_once
from pipelines.tracking.mirror import MIRROR, Mirror, forget, has_end, has_run, notes
from pipelines.tracking.moved_store import STORE
from pipelines.tracking.names import filters, recorded
from pipelines.tracking.remedies import remedy
from pipelines.tracking.store_uri import check, place

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

EXPERIMENT = "ml-labs"
"""The experiment, where MLFLOW_EXPERIMENT_NAME names no other."""
ASK_AFTER_S = 10.0
"""Seconds of waiting for the store after which it is asked whether it still answers."""
T = TypeVar("T")
REQUEST = re.compile(r"API request to .*Max retries exceeded with url: .*\(Caused by (.*)\)$")
"""How MLflow says that a request failed: with its address, its path and its host, each twice, and why."""
NO_SUCH_RUN = "RESOURCE_DOES_NOT_EXIST"
"""What MLflow answers where a run is written to that the store does not have."""
AT_ONCE = 10
"""How often other processes may register the same model first."""


class StoreUnreachable(Exception):
    """The store could not be written; the message names its URI."""


class NotMirrored(Exception):
    """One folder could not be written, while the store answers; the message names the folder."""


class Store:
    """A connection to an MLflow store, opened at the first write.

    Args:
        home: the home folder.
        uri: the store; by default an SQLite file under the home folder, with artifacts beside it.

    Raises:
        BadInput: the URI of something that can never be opened.
    """

    def __init__(self, home: Path, uri: str | None) -> None:
        own = f"sqlite:///{home / STORE}"
        self.home = home
        self.uri = uri or own
        self.is_own = self.uri == own
        if not self.is_own:
            check(self.uri)
        self.shown_uri = without_password(self.uri)
        self.experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        suffix = "" if self.experiment_name == EXPERIMENT else f"#{self.experiment_name}"
        where = STORE if self.is_own else place(self.uri)  # of its own store, whatever place the home is moved to
        self.name = hashlib.sha256(f"{where}{suffix}".encode()).hexdigest()[:12]
        self._client: MlflowClient | None = None
        self.experiment = ""
        self.found: Experiment | None = None
        """The experiment, once the store was opened."""
        self.files_fault = ""
        """Why the files of this home's runs can't be written, once the store was opened; empty if they can."""

    def client(self) -> "MlflowClient":
        """The client, with the store's tables and the experiment there; raises whatever MLflow and drivers raise."""
        client = self._client
        if client is None:  # two threads, of which one is late, may open it at once: each gets what it has opened
            client, found = open_store(self.home, self.uri, self.experiment_name)
            self.experiment, self.found = found.experiment_id, found
            self.files_fault = files_fault(self.home, found) if is_database(self.uri) else ""
            self._client = client
        return client

    def open(self) -> None:
        """See that the store answers and takes runs.

        Raises:
            StoreUnreachable: it is down or refuses; the message says why.
            BadInput: a package is missing that it needs.
        """
        try:
            self.client()
        except BadInput:
            raise
        except Exception as error:
            raise self._unreachable(error) from None

    def write_once(self) -> None:
        """See that the store takes what is written to it, files included if they can go there.

        Raises:
            StoreUnreachable: it does not; the message says why.
        """
        self.open()
        try:
            write_once(self.client(), self.found)
            if not self.files_fault:
                write_file(self.found, self.uri)
        except Exception as error:  # of any class, as in `open`
            raise self._unreachable(error) from None

    def sync(self, folder: Path) -> str:
        """Mirror one folder as far as it is final; again for what has come since. Returns the MLflow run's id.

        Raises:
            StoreUnreachable: nothing is lost; a later call completes the mirror.
            NotMirrored: the store answers, but this folder can't be written.
        """
        self.open()
        try:
            with locked(folder / "mirror.lock", "mirroring"):
                return self._sync(folder)
        except StoreUnreachable:
            raise
        except Exception as error:
            if refusal := self._refusal(error):
                raise self._unreachable(refusal) from None
            reason = self.reason(error)
            raise NotMirrored(f"{folder} can't be written to MLflow store {self.shown_uri}: {reason}") from None

    def reason(self, error: BaseException) -> str:
        """The first line of an error of the store, with what to do about it, without the secrets of its URI."""
        said = first_line(error)
        todo, said = remedy(said, database=is_database(self.uri)), REQUEST.sub(r"\1", said)
        return without_secrets(f"{todo} ({said})" if todo else said, self.uri)[:400]

    def sync_all(self) -> tuple[int, list[str]]:
        """Mirror everything below the home folder that is not complete, parents first, each folder by itself.

        Returns:
            How many folders were written, and a sentence for each that could not be.

        Raises:
            StoreUnreachable: the store is down.
        """
        pending = [
            folder
            for kind in KINDS
            for folder, record in records(self.home, kind)
            if not is_mirrored(folder, record, self.name)
        ]
        faults = []
        self._client = None  # opened anew: a database that hangs would never answer on a connection that it already has
        for folder in pending:
            try:
                self.sync(folder)
            except NotMirrored as error:
                faults.append(str(error))
        if self.experiment:  # opened since the command began: something was written
            faults += self._register()
        return len(pending) - len(faults), faults

    def while_it_answers(self, work: Callable[[], T]) -> T:
        """What a function returns or raises that waits for the store; for commands that do nothing else.

        A database that hangs never answers on a connection that it already has, so it is now and then asked on another.

        Raises:
            StoreUnreachable: the store has stopped answering.
        """
        answer = in_thread(work)
        while not wait([answer], ASK_AFTER_S).done:
            try:
                open_store(self.home, self.uri, self.experiment_name)
            except Exception as error:  # of any class, as in `open`
                raise self._unreachable(error) from None
        return answer.result()

    def forget_lost(self) -> None:
        """Begin mirrors anew whose runs the store no longer has, as when its file was removed.

        It still has those that a user deleted in MLflow. To ask for all takes 2 s for a thousand runs.

        Raises:
            StoreUnreachable: the store is down.
        """
        self.open()
        try:
            known = {run.info.run_id for run in search(self.client(), self.experiment, deleted=True)}
        except Exception as error:  # of any class, as in `open`
            raise self._unreachable(error) from None
        for folder in (folder for kind in KINDS for folder, _ in records(self.home, kind)):
            if (noted := run_id(folder, self)) is not None and noted not in known:
                with locked(folder / "mirror.lock", "mirroring"):
                    forget(folder, self.name)

    def _register(self) -> list[str]:
        """Register the best models; a sentence where that can't be done."""
        for others in reversed(range(AT_ONCE)):
            try:
                registry.update(self.client(), self.home, lambda folder: run_id(folder, self))
            except Exception as error:  # of any class, as in `open`
                if others and SAME_ROW.search(str(error)):
                    continue  # what another process has just written is there now
                if refusal := self._refusal(error):
                    raise self._unreachable(refusal) from None
                return [f"the best models can't be registered in MLflow store {self.shown_uri}: {self.reason(error)}"]
            break
        return []

    def _sync(self, folder: Path) -> str:
        from mlflow.exceptions import MlflowException

        target = self.name, self.client(), self.found, self._sync_parent, self.files_fault
        try:
            return Mirror(folder, *target).sync()
        except MlflowException as error:
            if error.error_code == NO_SUCH_RUN:  # as `forget_lost`, for a run that goes on
                forget(folder, self.name)
            elif not SAME_ROW.search(str(error)):
                raise
        return Mirror(folder, *target).sync()  # what another process has just written is there now

    def _sync_parent(self, folder: Path) -> str | None:
        if (noted := run_id(folder, self)) is not None:
            return noted
        with suppress(NotMirrored, BadInput):  # a damaged record of its own
            if has_record(folder) and has_run(folder, read_record(folder), self.name):
                return self.sync(folder)
        return None

    def _refusal(self, error: Exception) -> Exception | None:
        """Why the store takes nothing now, where that is so: it is opened anew to see.

        None where it does, and the error was the fault of what was written to it.
        """
        if getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
            return error
        self._client = None
        try:
            self.client()
        except Exception as refusal:  # of any class, as in `open`
            return refusal
        return None

    def _unreachable(self, error: Exception) -> StoreUnreachable:
        self._client = None
        return StoreUnreachable(f"MLflow store {self.shown_uri} can't be written: {self.reason(error)}")


def search(client: "MlflowClient", experiment: str, wanted: str = "", *, deleted: bool = False) -> list["Run"]:
    """All runs of an experiment that are wanted, oldest first, with tags and metrics under the names of records."""
    from mlflow.entities import ViewType

    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    found = {run.info.run_id: run for form in filters(wanted) for run in _pages(client, experiment, form, view)}
    return sorted(map(recorded, found.values()), key=lambda run: run.info.start_time)


def _pages(client: "MlflowClient", experiment: str, wanted: str, view: int) -> Iterator["Run"]:
    """What a search finds; MLflow gives it page by page."""
    token = None
    while True:
        page = client.search_runs([experiment], wanted, view, 1000, ["attributes.start_time"], token)
        yield from page
        token = page.token
        if not token:
            return


def reopen(folder: Path) -> None:
    """Let an ended folder's end be mirrored once more: something was added to it."""
    with locked(folder / "mirror.lock", "mirroring"):
        mirrors = notes(folder)
        events.write_text(folder / MIRROR, json.dumps({name: {**done, "ended": ""} for name, done in mirrors.items()}))


def is_mirrored(folder: Path, record: dict[str, Any], store: str) -> bool:
    """Whether the store has all of a folder, its end included."""
    return has_end(notes(folder).get(store, {}), record) or not has_run(folder, record, store)


def run_id(folder: Path, store: Store) -> str | None:
    """Id of the MLflow run that mirrors a folder, if there is one yet."""
    found = notes(folder).get(store.name, {}).get("run_id")
    return None if found is None else str(found)


def run_ids(folder: Path) -> list[str]:
    """Ids of the MLflow runs that mirror a folder, in whatever store."""
    return [mirror["run_id"] for mirror in notes(folder).values() if "run_id" in mirror]
