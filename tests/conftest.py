"""What the tests share: one Ray session, homes in temporary folders, the command line in this process."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium as chromium
from tests.forked import LabsProcess

os.environ.setdefault("OMP_NUM_THREADS", "1")
# Else each of some two hundred processes compiles the program anew, which takes it half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@dataclass
class Said:
    """What a command printed and returned."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@lru_cache
def uses_ray(file: Path) -> bool:
    """Whether a file of tests uses the suite's Ray."""
    return bool(re.search("ray_session|free_cpus", file.read_text()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that use Ray first, those that kill its processes at their end. Then the others with slow tests, which
    wait for other processes, and those that compute, in turn: as one of the session's processes waits, the other one
    computes. There are fewer slow ones, so that a short file is begun last.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: "faults" in item.path.parts)
    files = [file for file in dict.fromkeys(item.path for item in items) if not uses_ray(file)]
    kinds = ([file for file in files if file in slow], [file for file in files if file not in slow])
    place = {file: (number, kind) for kind, group in enumerate(kinds) for number, file in enumerate(group)}
    items.sort(key=lambda item: place.get(item.path, (-1, 0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole files for one process, and one for all files that use Ray: another Ray would take ten seconds more, and a
    twentieth of a CPU while it waits."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "Ray" if uses_ray(config.rootpath / file) else file

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Ray ends with the last file that uses it."""
    if uses_ray(item.path) and not (nextitem and uses_ray(nextitem.path)):
        from cluster import connect

        connect.disconnect()


@pytest.fixture(scope="module")
def ray_session(cache: Path) -> None:
    """The suite's one Ray cluster, with two CPUs whatever the machine has."""
    from cluster import connect

    connect.connect(num_cpus=2)


@pytest.fixture(scope="session")
def cache(session_folder: Path) -> Path:
    """The cache folder of the suite's processes, and of those that they start."""
    folder = session_folder / "cache"
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return folder


@pytest.fixture
def free_cpus(ray_session: None) -> None:
    """The suite's Ray cluster without workers that wait for a job, for tests that ask Ray for CPUs themselves."""
    from pipelines.ray_train import end_idle

    end_idle()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the session share; each of xdist's has a folder of its own in it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def data_home(session_folder: Path) -> Path:
    """A home whose prepared data the tests share: the same for every test, and slow to make."""
    folder = session_folder / "data_home"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def empty_store(session_folder: Path) -> Path:
    """An SQLite store with MLflow's schema and nothing in it: making one takes 1.5 s."""
    import mlflow
    from filelock import FileLock

    file = session_folder / "empty.db"
    with FileLock(f"{file}.lock"):
        if not file.exists():
            part = file.with_suffix(".part")
            mlflow.MlflowClient(f"sqlite:///{part}").search_experiments()
            part.rename(file)
    return file


def new_home(folder: Path, data_home: Path, empty_store: Path) -> Path:
    """Make a home folder with shared data and an empty store."""
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    (data_home / "data").mkdir(exist_ok=True)
    (folder / "data").symlink_to(data_home / "data")
    return folder


def called(*arguments: object) -> int:
    """Call `labs ...` in this process; the exit code."""
    from pipelines.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["labs", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return 0


def said(*arguments: object) -> Said:
    """Call `labs ...` in this process, outside a test of one's own, where `capfd` can't be had."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = called(*arguments)
    return Said(code, out.getvalue(), err.getvalue())


@pytest.fixture
def labs_cli(
    home: Path,
    data_home: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Said]:
    """Runs `labs ...` in this process, in a home folder of the test's own with shared data and an empty store."""
    monkeypatch.setenv("LABS_HOME", str(new_home(home, data_home, empty_store)))

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        code = called(*arguments)
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def module_cli(
    data_home: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Said]]:
    """Like `labs_cli`, but in one home for all tests of a module: for runs that several of them look at."""
    home = new_home(tmp_path_factory.mktemp("module") / "home", data_home, empty_store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABS_HOME", str(home))
        yield said


@pytest.fixture
def labs_process(home: Path, tmp_path: Path) -> Iterator[Callable[..., LabsProcess]]:
    """Starts `labs ...` as a process of its own, in a session of its own; what is left of it ends with the test."""
    started: list[LabsProcess] = []

    def start(*arguments: object, before: Callable[[], object] | None = None) -> LabsProcess:
        folder = tmp_path / f"process{len(started)}"
        folder.mkdir()
        environment = {**os.environ, "LABS_HOME": str(home)}
        started.append(LabsProcess(list(map(str, arguments)), environment, folder, before))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
