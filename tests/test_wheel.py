"""The wheel, installed elsewhere and used from any folder: no command needs the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
Installed = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout, because setuptools leaves folders beside what it builds; needs no network."""
    place = tmp_path_factory.mktemp("build")
    for name in ("labs", "pipelines", "cluster"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", place, place]
    subprocess.run(command, check=True, timeout=300)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a fresh environment with the wheel; of this one it sees all packages but an editable install."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    interpreter = place / "bin" / "python"
    asked = [interpreter, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip())
    # A folder that a .pth file names is searched, while the .pth files in it, such as an editable install's, are not.
    shared = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "shared.pth").write_text("\n".join(shared))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        interpreter,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(command, check=True, timeout=300)
    return interpreter


@pytest.fixture
def installed(python: Path, tmp_path: Path) -> Installed:
    """Runs the installed `labs` in a folder that has nothing to do with the checkout."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["LABS_HOME"] = str(tmp_path / "home")
        command = [python.with_name("labs"), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_the_wheel_has_every_module_spec_and_template(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(ROOT).as_posix()
        for name in ("labs", "pipelines", "cluster")
        for path in (ROOT / name).rglob("*")
        if path.suffix in (".py", ".yaml", ".html", ".css", ".typed")
        and not path.is_relative_to(ROOT / "cluster" / "deploy")
    }
    assert packed == sources


def test_what_only_looks_needs_no_checkout(installed: Installed) -> None:
    assert installed("--version").stdout.startswith("labs ")
    assert "commit" not in installed("--version").stdout
    assert len(json.loads(installed("list", "--json").stdout)) > 15
    assert json.loads(installed("show", "regression", "--json").stdout)["name"] == "regression"


def test_the_doctor_knows_what_the_wheel_needs(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)  # whatever the user's own file is
    rows = {row["check"]: row for row in json.loads(installed("doctor", "--json").stdout)}
    assert " needed, all there: ray 2." in rows["packages"]["found"]
    assert rows["python"]["status"] == "ok"


def test_the_programs_own_specs_are_planned_by_name(installed: Installed) -> None:
    assert json.loads(installed("pipeline", "plan", "cnn-report", "--json").stdout)["fits"]


def test_it_trains_shows_compares_and_delivers(installed: Installed) -> None:
    trained = installed("train", "regression", "--workers", "0", "--size", "tiny", "--json")
    run = json.loads(trained.stdout)["run_id"]
    assert json.loads(installed("status", "--json").stdout)["nodes"][0]["run_id"] == run
    assert json.loads(installed("compare", "--json").stdout)[0]["run_ids"] == [run]
    assert "pred.csv" in installed("deliver", "regression", "--run", run, "--out", "delivered").stderr


STAGE = """
import sys
from pathlib import Path
from cluster.upload import stage_code
from pipelines.fingerprint import ROOT
stage_code(ROOT, ("labs", "pipelines", "cluster"), Path(sys.argv[1]))
print(ROOT)
"""


def test_submit_uploads_the_installed_packages(python: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    upload = tmp_path / "upload"

    def run(*arguments: str | Path, folder: Path) -> str:
        command = [python, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout

    assert not Path(run("-c", STAGE, upload, folder=tmp_path).strip()).is_relative_to(ROOT)
    assert (upload / "pipelines" / "specs" / "course.yaml").exists()
    assert json.loads(run("-m", "pipelines.cli", "list", "--json", folder=upload))
