"""A lab's data, ready for its workers: generated or read from a folder, checked, packed once and then found again."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from labs.core import shards
from labs.core.errors import BadInput, summary
from labs.core.lab import Lab
from labs.core.listing import roots
from pipelines.fingerprint import code_digest
from pipelines.home import locked, read_record

SEED = 0
"""Seed of the data that are generated when no folder is given."""
PREPARATION = "preparation.json"
"""File beside prepared data: the `seconds` that it took, and the `bytes` of the files in the course's format."""


def prepared(home: Path, lab: Lab, size: str, source: Path | None) -> Path:
    """The folder with the lab's packed data; the first call makes it, later ones find it.

    Args:
        home: the home folder; data are kept below `data/<lab>`.
        source: a folder in the course's format; None to generate embedded data of this size.

    Raises:
        BadInput: the folder is missing or broken; the message has the file and the fault.
    """
    out = location(home, lab, size, source)
    if lab.data is None or (out / shards.MANIFEST).exists():
        return out
    with locked(out.with_suffix(".lock"), f"data of lab {lab.name}"):
        if not (out / shards.MANIFEST).exists():
            _build(lab, size, source, out)
    return out


def identity(lab: Lab, folder: Path, source: Path | None) -> str:
    """What a fingerprint has of the data: of those from a folder their digest, so that a copy of it is the same.

    Of generated ones it is the name of the folder with what they are made from, so that a plan needs no data.
    """
    return folder.name if source is None else digest(lab, folder)


def digest(lab: Lab, folder: Path) -> str:
    """Digest of prepared data; the environment's name for a lab without a data set, "" for data not made yet."""
    if lab.data is None:
        return f"environment of lab {lab.name}"
    return str(shards.manifest(folder)["digest"]) if (folder / shards.MANIFEST).exists() else ""


def location(home: Path, lab: Lab, size: str, source: Path | None) -> Path:
    """Where prepared data are, or would be: a folder whose name has a digest of what they are made from."""
    if lab.data is None:
        return home / "data" / lab.name
    if source is None:
        made_from, name = f"{SEED}|{size}|{code_digest(lab.data.__name__)}", f"generated-{size}"
    else:
        made_from, name = f"{_listing(source)}|{code_digest(lab.data.__name__)}", f"folder-{source.name}"
    return home / "data" / lab.name / f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"


def packed_data(folder: Path) -> Path:
    """The prepared data that the run of a folder was trained on.

    Raises:
        BadInput: they are not there any more.
    """
    data = read_record(folder)["data"]
    place = Path(data["packed"])
    if data["origin"] != "environment" and not (place / shards.MANIFEST).exists():
        raise BadInput(f"run {folder.name} was trained on data in {place}, which are no longer there")
    return place


def packed_bytes(place: Path) -> int:
    """Bytes packed so far of the data that are being prepared for that place, or that are there already."""
    for folder in (_part(place), place):
        with suppress(FileNotFoundError):  # moved to `place` meanwhile
            if packed := [file.stat().st_size for file in folder.glob("*.arrow")]:
                return sum(packed)
    return 0


def source_bytes(source: Path) -> int:
    """Bytes of all files of a folder in the course's format."""
    return sum(file.stat().st_size for file in _files(source) if file.is_file())


def check(lab: Lab, source: Path) -> Path:
    """The folder in the course's format: `source`, or one of those that unpacking an archive adds around the data.

    Raises:
        BadInput: it does not hold the lab's data; the message has the first five faults.
    """
    if lab.data is None:
        raise BadInput(f"lab {lab.name} has no data set: its data come from its environment")
    if not source.is_dir():
        raise BadInput(f"data folder {source} of lab {lab.name} {'is a file' if source.exists() else 'does not exist'}")
    if special := next((file for file in _files(source) if file.exists() and not file.is_file()), None):
        raise BadInput(f"data folder {source} of lab {lab.name}: {special.relative_to(source)} is a pipe, a socket "
                       "or a device, for which a reader may wait without an end: expected a file")  # fmt: skip
    faults = list[list[str]]()
    for root in roots(source):
        faults.append(_faults(lab, root))
        if not faults[-1]:
            return root
        if not all(" is missing" in fault for fault in faults[-1]):  # the data are here, and have these faults
            break
    else:
        faults = [min(faults, key=len)]
    raise BadInput(f"data folder {source} of lab {lab.name}: {summary(faults[-1])}")


def _faults(lab: Lab, source: Path) -> list[str]:
    """What the lab finds wrong; what it can't read at all is one fault."""
    data: Any = lab.data
    try:
        return list(data.check(source))
    except BadInput as error:
        return [str(error)]
    except OSError as error:
        return [f"{error.filename or 'a file'} can't be read: {error.strerror or error}"]
    except UnicodeDecodeError as error:
        start = error.object[max(0, error.start - 20) : error.start + 20]
        return [f"a text file is not in UTF-8: it has the bytes {start!r}"]


def _build(lab: Lab, size: str, source: Path | None, out: Path) -> None:
    part, start = _part(out), time.monotonic()
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    data: Any = lab.data
    origin = "folder" if source else "generated"
    if source is None:
        source = part / "source"
        source.mkdir()
        data.make(source, SEED, size)
    root = check(lab, source)
    data.prepare(root, part, origin)
    if (root / "answers").is_dir():
        shutil.copytree(root / "answers", part / "answers")
    took = {"seconds": time.monotonic() - start, "bytes": source_bytes(source)}
    (part / PREPARATION).write_text(json.dumps(took))
    shutil.rmtree(part / "source", ignore_errors=True)
    os.replace(part, out)


def _part(out: Path) -> Path:
    """The folder beside `out` in which the data are prepared before they are moved to `out` as a whole."""
    return out.with_name(f".{out.name}")


def _listing(source: Path) -> str:
    """What changes when a file of the folder does, without reading one: its name, size, times and number.

    The number and the time of the last change of a file's entry tell a replaced file, or a replaced target of a link,
    from the one before, even if its size and its time of writing are the same.
    """
    if not source.is_dir():
        raise BadInput(f"data folder {source} {'is a file' if source.exists() else 'does not exist'}")
    files = sorted((str(path), path.stat()) for path in _files(source) if path.is_file())
    facts = ((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in files)
    return json.dumps([str(source.resolve()), *facts])


def _files(source: Path) -> Iterator[Path]:
    """The files of a folder and of the folders in it, links to folders included; a link that leads back ends there."""
    seen = set[tuple[int, int]]()
    for folder, folders, files in os.walk(source, followlinks=True):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()
        yield from (Path(folder, name) for name in files)
