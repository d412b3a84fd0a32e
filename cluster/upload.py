"""What travels with a job: the program's code, and files of the user's that its command names."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import ClusterError

CODE_BYTES = 10 * 2**20  # the code is far smaller: more is a mistake
FILES_BYTES = 50 * 2**20
"""The user's files in all. Ray's job server takes 100 MB at most, and keeps them in the head node's memory."""
RULES = (".gitignore", ".rayignore")
"""Files by which Ray would leave out what lies beside them."""


def stage_code(code: Path, packages: tuple[str, ...], folder: Path) -> None:
    """Copy the code that a job needs, and nothing else of the folder."""
    files = [file for name in packages for file in (code / name).rglob("*") if _is_code(file)]
    if missing := [name for name in packages if not (code / name).is_dir()]:
        raise ClusterError(f"no package {', '.join(missing)} in {code}")
    if (code / "pyproject.toml").exists():
        files.append(code / "pyproject.toml")
    _check_size({str(file.relative_to(code)): file.stat().st_size for file in files})
    for file in files:
        target = folder / file.relative_to(code)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def stage_files(files: Mapping[str, Path], folder: Path) -> None:
    """Copy files and folders of the user's, each to its place below the folder of the job's code."""
    for place, source in files.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns(*RULES), dirs_exist_ok=True)
            else:
                shutil.copy(source, target)
        except OSError as error:
            raise ClusterError(f"{source} can't be read, so it can't travel with the job: {error}") from None


def size_of(source: Path, limit: int) -> int | None:
    """Bytes of a file, or of a folder's files; None where they are more than the limit, without looking at all."""
    if source.is_file():
        size = source.stat().st_size
        return size if size <= limit else None
    total = 0
    for folder, _, names in os.walk(source, followlinks=True):
        total += sum(os.stat(path).st_size for name in names if os.path.exists(path := os.path.join(folder, name)))
        if total > limit:
            return None
    return total


def _is_code(file: Path) -> bool:
    return file.suffix in {".py", ".yaml", ".html", ".css"} or file.name == "py.typed"


def _check_size(sizes: dict[str, int]) -> None:
    if (size := sum(sizes.values())) > CODE_BYTES:
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:3]
        named = ", ".join(f"{name} ({sizes[name] / 2**20:.1f} MB)" for name in largest)
        raise ClusterError(
            f"the code to upload is {size / 2**20:.1f} MB, the limit is {CODE_BYTES // 2**20} MB: largest are {named}"
        )
