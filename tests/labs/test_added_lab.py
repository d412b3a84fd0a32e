"""The lab that `labs/README.md` adds, added as it stands there to a copy of the program, and trained."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import labs

ROOT = Path(labs.__file__).parent.parent


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three packages and what the README adds to them."""
    folder = tmp_path_factory.mktemp("program")
    for package in ("labs", "pipelines", "cluster"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "labs/README.md").read_text().split("## Add a lab")[1].split("\n## ")[0]
    blocks = re.findall(r"^(.*?)```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    course = folder / "labs/__init__.py"
    for before, code in blocks:
        name = re.findall(r"`(labs/[\w/]+\.py)`", before)[-1]
        if name == "labs/__init__.py":
            start = "for heading in (\n"
            course.write_text(course.read_text().replace(start, start + code))
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(code)
    return folder


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(program), "LABS_HOME": str(program / "home")}
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=program, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_added_lab_trains_bare_and_on_two_workers(program: Path) -> None:
    nodes = {name: {"lab": "digits", "resources": {"workers": workers}} for name, workers in (("bare", 0), ("two", 2))}
    (program / "added.yaml").write_text(yaml.safe_dump({"name": "added", "nodes": nodes}))
    done = run(program, "pipeline", "run", "added.yaml", "--json")
    assert done.returncode == 0, done.stderr
    results = [Path(node["folder"], "result.json") for node in json.loads(done.stdout)["nodes"]]
    assert len(results) == 2
    assert min(json.loads(file.read_text())["metrics"]["val/accuracy"] for file in results) > 0.9


def test_the_added_lab_is_listed(program: Path) -> None:
    assert "Small digits" in run(program, "list").stdout
