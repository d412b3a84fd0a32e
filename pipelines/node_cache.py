"""What a node that does not see the home folder keeps of it: prepared data for later jobs, copies for a job's time.

Both are in the user's cache folder: `$XDG_CACHE_HOME/labs`, else `~/.cache/labs`.
"""

import json
import os
import shutil
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from labs.core import shards
from pipelines.home import cache_folder
from pipelines.home_files import PIECE, sizes

TOGETHER = 64
"""How many small files are fetched at once."""


def own_folder() -> Path:
    """A new folder for this process's copies; what killed processes of this node left is removed."""
    runs, host = cache_folder() / "runs", socket.gethostname()
    runs.mkdir(parents=True, exist_ok=True)
    for left in runs.glob(f"{host}-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[-2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = runs / f"{host}-{os.getpid()}-{uuid.uuid4().hex}"
    folder.mkdir()
    return folder


def fetch_data(files: Any, source: Path) -> Path:
    """The node's copy of prepared data, which the node's first job fetches."""
    import ray

    wanted = sizes_there(files, source)
    if shards.MANIFEST not in wanted:  # a lab whose data come from an environment
        return source
    digest = json.loads(ray.get(files.read.remote(source / shards.MANIFEST, 0)))["digest"]
    target = cache_folder() / "data" / source.parent.name / f"{source.name}-{digest[:12]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if sizes(target) != wanted:
            part = target.with_name(f".{target.name}")
            for left in (part, target):
                shutil.rmtree(left, ignore_errors=True)
            fetch(files, source, part, wanted)
            os.replace(part, target)
    return target


def sizes_there(files: Any, folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, int]:
    """Files of a folder on the driver's node, except those whose paths begin so -> their bytes."""
    import ray

    found: dict[str, int] = ray.get(files.sizes.remote(folder))
    return {name: size for name, size in found.items() if not name.startswith(without)}


def fetch(files: Any, source: Path, target: Path, wanted: Mapping[str, int]) -> None:
    """Fetch files of a folder on the driver's node; their names are given with their bytes."""
    import ray

    target.mkdir(parents=True, exist_ok=True)
    for folder in {(target / name).parent for name in wanted}:
        folder.mkdir(parents=True, exist_ok=True)
    small = [name for name, size in wanted.items() if size < PIECE / TOGETHER]
    for start in range(0, len(small), TOGETHER):
        names = small[start : start + TOGETHER]
        for name, content in zip(names, ray.get(files.read_whole.remote(source, names)), strict=True):
            (target / name).write_bytes(content)
    for name in wanted.keys() - set(small):
        with (target / name).open("wb") as opened:
            while piece := ray.get(files.read.remote(source / name, opened.tell())):
                opened.write(piece)
