"""One folder's mirror in one MLflow store.

A run's folder is the truth. Each folder's `mirror.json` says, for each store, which MLflow run mirrors it and how far.
Only what a checkpoint or the end of the run has made final is mirrored, so nothing that a resumed run does again was
written before. Written twice, an event is the same (timestamp, step, value), which the store keeps once.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from labs.core import events
from pipelines.home import has_record, read_record, result
from pipelines.system_load import SYSTEM
from pipelines.tracking import about, names, snapshot
from pipelines.tracking.experiment import describe

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Metric, Param, RunTag

MIRROR = "mirror.json"
"""For each store the id of the MLflow run (`run_id`), how many events it has of each kind (`metrics`, `system`), and
the status with which it was closed (`ended`; "" while it is open) and the time of that end (`until`)."""
BATCH, BATCH_OF_A_KIND = 1000, 100
"""How much MLflow takes in one call: in all, and of parameters and of tags."""
PARAM_LENGTH = 6000
PARENT = "mlflow.parentRunId"
KEY = "labs.key"
"""Tag with the folder's own unique key: how a run is found again if the process died before it noted the id."""
SECONDS = "labs.seconds"
"""Tag with the seconds that all commands worked on the run: from start to end it may have paused."""
CLOSED = ("FINISHED", "FAILED", "KILLED")
"""The states in which a run is closed in the store; others may go on."""


class Mirror:
    """One folder's mirror in one store, as its files say while `mirror.lock` is held: from reading them to `sync`.

    Args:
        folder: the folder.
        store: name of the store in the folder's notes.
        client: of the store.
        experiment: the experiment there.
        mirror_parent: mirrors the folder that this one is a part of; returns the id of its run, None if it has none.
        files_fault: why files can't be written to the store; empty if they can.
    """

    def __init__(
        self,
        folder: Path,
        store: str,
        client: "MlflowClient",
        experiment: "Experiment",
        mirror_parent: Callable[[Path], str | None],
        files_fault: str,
    ) -> None:
        self.folder, self.store, self.client = folder, store, client
        self.experiment = experiment
        self.mirror_parent, self.files_fault = mirror_parent, files_fault
        self.record = read_record(folder)
        self.all = notes(folder)
        self.done = self.all.setdefault(store, {"metrics": 0, "system": 0, "ended": ""})

    def sync(self) -> str:
        """Write what the store does not have yet; returns the MLflow run's id."""
        run_id, params = self.done.get("run_id"), {}
        if not run_id:
            run_id, params = self._open(), self.record["params"]
        if self.done["ended"] and not has_end(self.done, self.record):
            self.client.update_run(run_id, status="RUNNING")  # it was continued
            self._note(ended="")
        self._write(run_id, params)
        if self.record["status"] in CLOSED and not self.done["ended"]:
            self._close(run_id)
        return str(run_id)

    def _open(self) -> str:
        """The folder's run in the store, found by its key or made, with data set and tags; it is not noted yet."""
        is_run = self.folder.parent.name == "runs"
        describe(self.client, self.experiment, self.record["lab"] if is_run else "")
        key = self.record["key"]
        searched = (
            self.client.search_runs([self.experiment.experiment_id], wanted, max_results=1)
            for wanted in names.filters(f"tags.`{KEY}` = '{key}'")
        )
        run = next((found[0] for found in searched if found), None) or self._create(key)
        run_id: str = run.info.run_id
        if KEY in run.data.tags:
            self._take_over(run)
        if "data" in self.record and not run.inputs.dataset_inputs:
            self.client.log_inputs(run_id, [snapshot.dataset(self.record)])
        return run_id

    def _take_over(self, run: Any) -> None:
        """Add what a run lacks that an earlier version made, which has written all of one that it has closed."""
        for batch in _batches([], {}, about.tags(self.folder, self.record)):
            self.client.log_batch(run.info.run_id, *batch)
        if run.info.status in CLOSED and run.info.status == self.record["status"]:
            self.done.update({kind: len(found) for kind, found in self._events().items()})

    def _create(self, key: str) -> Any:
        own = names.stored({KEY: key, **self.record["tags"], **snapshot.code_version()})
        own |= about.tags(self.folder, self.record)
        if (parent := self._parent()) and has_record(parent):
            parent_id = self.mirror_parent(parent)
            own |= {PARENT: parent_id} if parent_id else names.stored(about.in_place_of(parent))
        started = int(self.record["created"] * 1000)
        name = about.name(self.folder, self.record)
        return self.client.create_run(self.experiment.experiment_id, started, own, run_name=name)

    def _write(self, run_id: str, params: dict[str, Any]) -> None:
        """Parameters and new events, in as few calls as MLflow takes them; each call waits for the store."""
        from mlflow.entities import Metric

        written = self._events()
        metrics = [
            Metric(names.stored_metric(name), value, int(event["time"] * 1000), event["step"])
            for kind, found in written.items()
            for event in found[self.done[kind] :]
            for name, value in event["metrics"].items()
        ]
        for batch in _batches(metrics, params, {}):
            self.client.log_batch(run_id, *batch)
        now = {"run_id": run_id, **{kind: len(found) for kind, found in written.items()}}
        if any(self.done.get(name) != value for name, value in now.items()):
            self._note(**now)

    def _events(self) -> dict[str, list[dict[str, Any]]]:
        """What is final of each kind of events."""
        return {"metrics": snapshot.final_events(self.folder), "system": events.read(self.folder / SYSTEM)}

    def _end_metrics(self, ended: int) -> list["Metric"]:
        """The metrics that are only known at the end, which was then, in milliseconds."""
        from mlflow.entities import Metric

        return [Metric(name, value, ended, 0) for name, value in about.in_the_end(self.folder, self.record).items()]

    def _end_tags(self) -> dict[str, Any]:
        """The tags that are only known at the end."""
        own = names.stored({SECONDS: self.record["seconds"], **self.record.get("end_tags", {})})
        if (parent := self._parent()) and (parent_id := notes(parent).get(self.store, {}).get("run_id")):
            own[PARENT] = parent_id  # one that could not be mirrored when this run was made may be there now
        return own

    def _close(self, run_id: str) -> None:
        """What is only there at the end: the model, the status, tags that changed, files.

        A model can't be logged while a bare run trains in this process; then a later call closes the run. A model that
        can't be made at all, as when the prepared data were removed, keeps nothing else from the store, and files that
        can't be written keep no number from it.
        """
        fault: Exception | None = PermissionError(self.files_fault) if self.files_fault else None
        try:
            if not fault and not self._serve(run_id):
                return
        except Exception as error:
            fault = error
        ended = int(self.record.get("ended", time.time()) * 1000)
        self.client.set_terminated(run_id, self.record["status"], ended)
        for batch in _batches(self._end_metrics(ended), {}, self._end_tags()):
            self.client.log_batch(run_id, *batch)
        if not self.files_fault:
            self._write_files(run_id)
        if fault:
            raise fault
        self._note(ended=self.record["status"], until=self.record.get("ended"))

    def _write_files(self, run_id: str) -> None:
        """All files in one call, from a folder of links: for each call MLflow asks where the run's files are kept."""
        with TemporaryDirectory(prefix="labs-") as staged:
            for file in snapshot.artifacts(self.folder):
                link = Path(staged, file.relative_to(self.folder))
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
            self.client.log_artifacts(run_id, staged)

    def _serve(self, run_id: str) -> bool:
        """Log the trained model, of a run that has one; False if that has to wait."""
        # Of a sweep's many trials only the best one's model goes into the store.
        if not result(self.folder) or not self.record.get("serve", True):
            return True
        run = self.client.get_run(run_id)
        if not snapshot.has_whole_model(self.client, run):
            if (known := snapshot.predicted(self.folder)) is None:
                return False
            snapshot.log_model(self.client, self.folder, run, *known)
        return True

    def _parent(self) -> Path | None:
        """Folder of the pipeline or the sweep that this one is a part of."""
        parent = self.record.get("parent")
        return Path(parent) if parent else None

    def _note(self, **fields: Any) -> None:
        self.done.update(fields)
        events.write_text(self.folder / MIRROR, json.dumps(self.all, indent=2))


def has_run(folder: Path, record: dict[str, Any], store: str) -> bool:
    """Whether a folder has an MLflow run of its own, now or before.

    A pipeline has none that only runs one node, which is a run itself, and none that takes all from earlier commands.
    """
    nodes = record.get("nodes")
    if nodes is None or "run_id" in notes(folder).get(store, {}) or (folder / events.FILE).exists():
        return True
    return len(nodes) > 1 and any(not node["reused"] for node in nodes.values())


def has_end(done: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether a mirror has the run's latest end: a run that was killed may be continued, and killed once more."""
    return done.get("ended") == record["status"] and done.get("until") == record.get("ended")


def notes(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of a folder's mirrors; nothing where the file was torn, as runs are found again by their keys."""
    path = folder / MIRROR
    found: Any = None
    if path.exists():
        with suppress(ValueError):
            found = json.loads(path.read_text())
    return found if isinstance(found, dict) else {}


def forget(folder: Path, store: str) -> None:
    """Begin a folder's mirror in a store anew: the store no longer has the run. The caller holds `mirror.lock`."""
    others = {name: done for name, done in notes(folder).items() if name != store}
    events.write_text(folder / MIRROR, json.dumps(others, indent=2))


def _batches(
    metrics: list["Metric"], params: dict[str, Any], tags: dict[str, Any]
) -> Iterator[tuple[list["Metric"], list["Param"], list["RunTag"]]]:
    """All of it in the arguments of `log_batch`, each time as much as MLflow takes."""
    from mlflow.entities import Param, RunTag

    left_params = [Param(name, str(value)[:PARAM_LENGTH]) for name, value in params.items()]
    left_tags = [RunTag(name, str(value)[:PARAM_LENGTH]) for name, value in tags.items()]
    while metrics or left_params or left_tags:
        some_params, left_params = left_params[:BATCH_OF_A_KIND], left_params[BATCH_OF_A_KIND:]
        some_tags, left_tags = left_tags[:BATCH_OF_A_KIND], left_tags[BATCH_OF_A_KIND:]
        room = BATCH - len(some_params) - len(some_tags)
        yield metrics[:room], some_params, some_tags
        metrics = metrics[room:]
