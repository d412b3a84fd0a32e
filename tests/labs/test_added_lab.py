"""The lab that `labs/README.md` adds, added as it stands there to a copy of the program, and trained."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import labs

ROOT = Path(labs.__file__).parent.parent
IN_TWO_PROCESSES = """
import multiprocessing, sys
from pathlib import Path
import torch
import torch.distributed as dist
import labs
from labs.core.run import Run

def train(rank, data, folder):
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    lab = labs.get("digits")
    lab.fit(lab.resolve("simple", "tiny"), Run(folder / "run", data, device=torch.device("cpu")))

labs.get("digits")
data, folder = map(Path, sys.argv[1:])
folder.mkdir()
torch.set_num_threads(1)
processes = [multiprocessing.get_context("fork").Process(target=train, args=(rank, data, folder)) for rank in (0, 1)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


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


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(program), "LABS_HOME": str(program / "home")}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=program, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_added_lab_trains_bare_and_on_two_workers(program: Path) -> None:
    """The two workers are plain processes: that Ray's train any copy of the program, a submitted job shows."""
    bare = run(program, "-m", "pipelines.cli", "train", "digits", "--workers", "0", "--json")
    assert bare.returncode == 0, bare.stderr
    (data,) = {file.parent for file in (program / "home/data/digits").glob("*/manifest.json")}
    two = run(program, "-c", IN_TWO_PROCESSES, data, program / "two")
    assert two.returncode == 0, two.stderr
    assert json.loads(bare.stdout)["metrics"]["val/accuracy"] > 0.9
    assert json.loads((program / "two/run/result.json").read_text())["metrics"]["val/accuracy"] > 0.9


def test_the_added_lab_is_listed(program: Path) -> None:
    assert "Small digits" in run(program, "-m", "pipelines.cli", "list").stdout
