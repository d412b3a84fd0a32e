"""A job on a node that does not see the home folder: it works on copies, and what it writes is sent as it is written.

The run's folder on the driver's node stays the truth. The data of a lab are kept on the node for later jobs, in the
user's cache folder; the copy of a run's folder is removed when the job has ended.
"""

import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from labs.core.run import STOP
from pipelines.home import RESULT, has_record
from pipelines.home_files import PIECE, Superseded, find
from pipelines.job import Job
from pipelines.node_cache import fetch, fetch_data, own_folder, sizes_there
from pipelines.requests import ABORT

REQUESTS = (STOP, ABORT)
SEND_EVERY_S = 1.0
NOT_SENT = (*REQUESTS, "writer.lock", "driver.lock", "mirror")
"""How the names of files begin that belong to one side: requests, locks, and what MLflow's mirror keeps."""
LOGS = ".jsonl"
"""Of files whose names end so, only what was appended is sent."""
KNOWN_WITHIN_S = 30.0
"""How long a worker on a node that has joined just now waits until that one is known not to see the home folder."""


class State(NamedTuple):
    """What changes when a file does."""

    size: int
    changed_ns: int
    inode: int


@contextmanager
def staged(job: Job, workers: str = "") -> Iterator[Job]:
    """The job with folders that this node sees: its own, or copies while it runs here.

    Args:
        job: the job.
        workers: a name for all workers that start to work on it together; by default this one is alone.

    Raises:
        OSError: the driver's node could not write what was sent, such as on a full disk.
    """
    import ray

    files, workers = _server(job), workers or uuid.uuid4().hex
    if files is not None:
        ray.get(files.begin.remote(job.folder, workers))
    if files is None or _sees(files, job):
        yield job
        return
    with ExitStack() as stack:
        folder = own_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        upstream = {role: folder / role for role in job.upstream}
        for role, source in job.upstream.items():
            fetch(files, source, upstream[role], sizes_there(files, source, without=("checkpoints/",)))
        replica = Replica(files, job.folder, folder / job.folder.name, workers)
        stack.enter_context(replica)
        yield job.model_copy(
            update={"folder": replica.folder, "data": fetch_data(files, job.data), "upstream": upstream}
        )


class Replica:
    """The copy of a run's folder. While entered, a thread sends what changes, and fetches what the driver asks.

    Args:
        files: the actor on the driver's node.
        original: the run's folder there.
        folder: the copy's place.
        workers: a name for those that work on the run together, as the actor knows it.
    """

    def __init__(self, files: Any, original: Path, folder: Path, workers: str) -> None:
        self.files, self.original, self.folder, self.workers = files, original, folder, workers
        folder.mkdir(parents=True)
        fetch(files, original, folder, sizes_there(files, original, without=NOT_SENT))
        self.sent = self._states()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._keep_sending, name="replica", daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *raised: object) -> None:
        self.ended.set()
        self.thread.join()
        self.send()

    def send(self) -> None:
        """Send what has changed since the last time, so that a crash at any moment leaves a folder to continue from.

        Events come first: none of a checkpoint's may be missing. Older checkpoints are removed when a newer one is
        there, and the result is the last: with it, the run counts as finished.
        """
        now = self._states()
        changed = [name for name, state in now.items() if self.sent.get(name) != state]
        for name in sorted(changed, key=lambda name: not name.endswith(LOGS)):
            if name != RESULT:
                self._send_file(name, now[name])
        self._remove(now)
        if RESULT in changed:
            self._send_file(RESULT, now[RESULT])

    def _send_file(self, name: str, state: State) -> None:
        before = self.sent.get(name)
        is_longer = before is not None and name.endswith(LOGS) and before.inode == state.inode
        offset = before.size if before and is_longer else 0
        place = name if is_longer else str(Path(name).with_name(f".{Path(name).name}.part"))
        with suppress(FileNotFoundError), (self.folder / name).open("rb") as file:  # older checkpoints are removed
            file.seek(offset)
            self._ask(self.files.write, place, offset, b"")
            while piece := file.read(PIECE):
                self._ask(self.files.write, place, offset, piece)
                offset += len(piece)
            if not is_longer:
                self._ask(self.files.replace, place, name)
            self.sent[name] = state._replace(size=offset)

    def _ask(self, method: Any, *arguments: object) -> None:
        """Have the actor change the run's folder."""
        import ray

        ray.get(method.remote(self.original, self.workers, *arguments))

    def _remove(self, now: dict[str, State]) -> None:
        gone = [name for name in self.sent if name not in now]
        if gone:
            self._ask(self.files.remove, gone)
        for name in gone:
            del self.sent[name]

    def _states(self) -> dict[str, State]:
        """What the copy holds, without files that are still being written."""
        found = {}
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if name.startswith(NOT_SENT) or name.endswith(".part"):
                    continue
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    found[str(path.relative_to(self.folder))] = State(stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return found

    def _keep_sending(self) -> None:
        import ray

        while not self.ended.wait(SEND_EVERY_S):
            try:
                self.send()
                for name in ray.get(self.files.existing.remote(self.original, REQUESTS)):
                    (self.folder / name).touch()
            except (ray.exceptions.RayActorError, Superseded):  # the driver is gone, or has other workers for the run
                os._exit(1)
            except ray.exceptions.RayTaskError:  # the disk there is full: the last `send` raises it
                self.ended.wait(SEND_EVERY_S)


def _server(job: Job) -> Any:
    """The actor that serves nodes that do not see the home folder; None where all see it."""
    import ray

    if not ray.is_initialized():
        return None
    deadline = time.monotonic() + KNOWN_WITHIN_S
    while (files := find()) is None and not has_record(job.folder) and time.monotonic() < deadline:
        time.sleep(SEND_EVERY_S)
    return files


def _sees(files: Any, job: Job) -> bool:
    """Whether this node sees the job's folder, and not another one at its path."""
    import ray

    return has_record(job.folder) and not ray.get(files.lacks_it.remote(ray.get_runtime_context().get_node_id()))
