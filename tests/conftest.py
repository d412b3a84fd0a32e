"""What the tests share: one Ray session, homes in temporary folders, the command line in this process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass
class Said:
    """What a command printed and returned."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a long one that begins last would leave the other process without work.

    Of them, those that kill processes of the session's Ray come last.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, "faults" in item.path.parts))


@pytest.fixture(scope="session")
def ray_session(cache: Path) -> Iterator[None]:
    """The suite's one Ray cluster, with two CPUs whatever the machine has."""
    from cluster import connect

    connect.connect(num_cpus=2)
    yield
    connect.disconnect()


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


@pytest.fixture
def labs_cli(
    home: Path,
    data_home: Path,
    empty_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., Said]:
    """Runs `labs ...` in this process, in a home folder of the test's own with shared data and an empty store."""
    from pipelines.cli import main

    home.mkdir()
    shutil.copy(empty_store, home / "mlflow.db")
    (data_home / "data").mkdir(exist_ok=True)
    (home / "data").symlink_to(data_home / "data")
    monkeypatch.setenv("LABS_HOME", str(home))

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["labs", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture(scope="module")
def module_cli(
    data_home: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Said]]:
    """Like `labs_cli`, but in one home for all tests of a module: for runs that several of them look at."""
    from pipelines.cli import main

    home = tmp_path_factory.mktemp("module_home")
    shutil.copy(empty_store, home / "mlflow.db")
    (data_home / "data").mkdir(exist_ok=True)
    (home / "data").symlink_to(data_home / "data")

    def run(*arguments: str) -> Said:
        patch.setattr(sys, "argv", ["labs", *map(str, arguments)])
        out, err = StringIO(), StringIO()
        code: Any = 0
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            code = ended.code
        return Said(int(code or 0), out.getvalue(), err.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABS_HOME", str(home))
        yield run


@pytest.fixture
def labs_process(home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `labs ...` as a process of its own, in a session of its own; what is left of it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, save_every_s: float | None = None) -> subprocess.Popen[str]:
        module = ["pipelines.cli"] if save_every_s is None else ["tests.saving", str(save_every_s)]
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "LABS_HOME": str(home)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
