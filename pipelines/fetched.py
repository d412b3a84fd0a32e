"""The results of a submitted job: noted by the job, packed on the head node, and unpacked where they are wanted."""

import base64
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from cluster.jobs import JOB_ID
from cluster.upload import FILES_BYTES
from labs.core.errors import BadInput
from pipelines.home import has_record, read_record
from pipelines.record_fields import BEST
from pipelines.tracking.snapshot import artifacts

BEGIN, END = "-----BEGIN RESULTS-----", "-----END RESULTS-----"
LINE = 10_000
"""Characters of a line: Ray sends a log in messages of some lines each."""


def note(home: Path, folder: Path) -> None:
    """Note that the submitted job that this process belongs to, if any, works on a pipeline or a sweep."""
    if job := os.environ.get(JOB_ID):
        (home / "jobs").mkdir(exist_ok=True)
        with (home / "jobs" / job).open("a") as file:
            file.write(f"{folder.relative_to(home)}\n")


def pack(home: Path, job: str) -> str:
    """The results of a job's runs, as text between `BEGIN` and `END`: no weights, and no checkpoints.

    Raises:
        BadInput: the job has none, or too many.
    """
    noted = home / "jobs" / job
    folders = [home / line for line in dict.fromkeys(noted.read_text().splitlines())] if noted.exists() else []
    files = {name: file for folder in folders for name, file in _results(folder)}
    if not files:
        raise BadInput(f"job {job} has no results in {home}: it trains nothing, or has not begun")
    if (size := sum(file.stat().st_size for file in files.values())) > FILES_BYTES:
        raise BadInput(
            f"the results of job {job} are {size / 2**20:.0f} MB, and at most {FILES_BYTES // 2**20} MB are fetched: "
            f"copy them from the head node, where they are in {', '.join(map(str, folders))}"
        )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, file in files.items():
            archive.add(file, name)
    text = base64.b64encode(packed.getvalue()).decode()
    return "\n".join([BEGIN, *(text[i : i + LINE] for i in range(0, len(text), LINE)), END])


def unpack(log: str, out: Path) -> list[Path]:
    """Write what `pack` has printed into a log to a folder; returns the files."""
    text = log.partition(f"{BEGIN}\n")[2].partition(END)[0]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text)), mode="r:gz") as archive:
        archive.extractall(out, filter="data")
        return [out / name for name in archive.getnames()]


def _results(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of a pipeline and its nodes, each node in a folder of its name, or of a sweep."""
    if not has_record(folder):
        return
    nodes = read_record(folder).get("nodes", {})
    for place, of in ({"": folder} | {name: Path(node["folder"]) for name, node in nodes.items()}).items():
        for inner, part in (("", of), *_best_trial(of)):
            for file in artifacts(part):
                yield str(Path(folder.name, place, inner, file.relative_to(part))), file


def _best_trial(folder: Path) -> Iterator[tuple[str, Path]]:
    """Of a sweep that has ended, the folder of its best trial, which has what the sweep delivers."""
    if has_record(folder) and (number := read_record(folder).get("end_tags", {}).get(BEST)) is not None:
        yield "best", folder / "trials" / str(number)
