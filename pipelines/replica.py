"""A job on a node that does not see the home folder: it works on copies, and what it writes is sent as it is written.

The run's folder on the driver's node stays the truth. The data of a lab are kept on the node for later jobs, in the
user's cache folder; the copy of a run's folder is removed when the job has ended.
"""

import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from filelock import FileLock

from labs.core import shards
from labs.core.run import STOP
from pipelines.home import RESULT, cache_folder, has_record
from pipelines.home_files import PIECE, Superseded, find, sizes
from pipelines.job import Job
from pipelines.requests import ABORT

REQUESTS = (STOP, ABORT)
SEND_EVERY_S = 1.0
TOGETHER = 64
"""How many small files are fetched at once."""
NOT_SENT = (*REQUESTS, "writer.lock", "driver.lock", "mirror", "served")
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
def at_hand(job: Job, workers: str = "") -> Iterator[Job]:
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
        folder = _own_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        upstream = {role: folder / role for role in job.upstream}
        for role, source in job.upstream.items():
            _copy(files, source, upstream[role], _sizes(files, source, without=("checkpoints/",)))
        replica = Replica(files, job.folder, folder / job.folder.name, workers)
        stack.enter_context(replica)
        yield job.model_copy(update={"folder": replica.folder, "data": _data(files, job.data), "upstream": upstream})


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
        _copy(files, original, folder, _sizes(files, original, without=NOT_SENT))
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

    return has_record(job.folder) and not ray.get(files.is_blind.remote(ray.get_runtime_context().get_node_id()))


def _own_folder() -> Path:
    """A new folder for this process's copies; what killed processes of this node left is removed."""
    runs, host = cache_folder() / "runs", socket.gethostname()
    runs.mkdir(parents=True, exist_ok=True)
    for left in runs.glob(f"{host}-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[-2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = runs / f"{host}-{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def _data(files: Any, source: Path) -> Path:
    """The node's copy of prepared data, which the node's first job fetches."""
    import ray

    wanted = _sizes(files, source)
    if shards.MANIFEST not in wanted:  # a lab whose data come from an environment
        return source
    digest = json.loads(ray.get(files.read.remote(source / shards.MANIFEST, 0)))["digest"]
    target = cache_folder() / "data" / source.parent.name / f"{source.name}-{digest[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if sizes(target) != wanted:
            part = target.with_name(f".{target.name}")
            for left in (part, target):
                shutil.rmtree(left, ignore_errors=True)
            _copy(files, source, part, wanted)
            os.replace(part, target)
    return target


def _sizes(files: Any, folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, int]:
    """Files of a folder on the driver's node, except those whose paths begin so -> their bytes."""
    import ray

    found: dict[str, int] = ray.get(files.sizes.remote(folder))
    return {name: size for name, size in found.items() if not name.startswith(without)}


def _copy(files: Any, source: Path, target: Path, wanted: Mapping[str, int]) -> None:
    """Fetch files of a folder on the driver's node; their names are given with their bytes."""
    import ray

    target.mkdir(parents=True, exist_ok=True)
    for folder in {(target / name).parent for name in wanted}:
        folder.mkdir(parents=True, exist_ok=True)
    small = [name for name, size in wanted.items() if size < PIECE / TOGETHER]
    for start in range(0, len(small), TOGETHER):
        names = small[start : start + TOGETHER]
        for name, content in zip(names, ray.get(files.read_whole.remote(source, names)), strict=True):
            (target / name).write_bytes(content)
    for name in wanted.keys() - set(small):
        with (target / name).open("wb") as opened:
            while piece := ray.get(files.read.remote(source / name, opened.tell())):
                opened.write(piece)
