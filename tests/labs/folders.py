"""Folders of data as the tests of the labs need them."""

import shutil
from pathlib import Path
from types import ModuleType


def made(data: ModuleType, folder: Path, seed: int = 0) -> Path:
    """The folder, with tiny data in the course's format."""
    folder.mkdir(exist_ok=True)
    data.make(folder, seed, "tiny")
    return folder


def packed(data: ModuleType, source: Path, folder: Path) -> Path:
    """The folder, with packed data and the test set's answers beside them."""
    data.prepare(source, folder, "generated")
    shutil.copytree(source / "answers", folder / "answers")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
