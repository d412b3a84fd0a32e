"""Folders of data as the tests of the labs need them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from labs.core.errors import BadInput
from labs.core.lab import Lab


def made(data: ModuleType, folder: Path, seed: int = 0) -> Path:
    """The folder, with tiny data in the course's format."""
    folder.mkdir(exist_ok=True)
    data.make(folder, seed, "tiny")
    return folder


def packed(data: ModuleType, source: Path, folder: Path) -> Path:
    """The folder, with packed data and the test set's answers, where there are any, beside them."""
    data.prepare(source, folder, "generated")
    if (source / "answers").exists():
        shutil.copytree(source / "answers", folder / "answers")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_fault(check: Callable[[Path], list[str]], source: Path, folder: Path, change: Callable[[Path], object]) -> str:
    """What `check` says of a copy of the source after a change, in one sentence."""
    shutil.copytree(source, folder)
    change(folder)
    (fault,) = check(folder)
    return fault


def fault_of_submission(lab: Lab, folder: Path, content: str | bytes) -> str:
    """What the lab says of a submission with this content, in one sentence."""
    file = folder / lab.submission
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    try:
        (fault,) = lab.check_submission(file)
    except BadInput as error:  # it can't be read at all
        return str(error)
    return fault
