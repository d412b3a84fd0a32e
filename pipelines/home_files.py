"""The home folder for nodes of a cluster that do not see it: one actor on the driver's node reads and writes its files.

On a cluster whose nodes share the home folder, and on one machine, there is no such actor, and nothing is sent.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ACTOR = "files of the home folder"
"""The actor's name. A Ray that has several drivers keeps such names apart."""
PIECE = 8 * 2**20
"""Bytes of a file that are sent at once."""
_started: list[Any] = []
"""This driver's actor, which ends when nobody holds it."""


class Superseded(Exception):
    """Others work on the run by now: its former workers, cut off for a while, must not write to its folder."""


class HomeFiles:
    """The actor. It alone writes to the run's folders for workers on nodes that do not see them."""

    def __init__(self) -> None:
        self.lacking: set[str] = set()
        self.writers: dict[Path, str] = {}
        """A run's folder -> the workers that write to it."""

    def add(self, nodes: Iterable[str]) -> None:
        """These nodes do not see the home folder."""
        self.lacking |= set(nodes)

    def lacks_it(self, node: str) -> bool:
        """Whether the node is known not to see the home folder."""
        return node in self.lacking

    def sizes(self, folder: Path) -> dict[str, int]:
        """Path of each file below the folder, relative to it -> its bytes."""
        return sizes(folder)

    def read(self, file: Path, offset: int) -> bytes:
        """A piece of a file from `offset` on; empty at its end."""
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(PIECE)

    def read_whole(self, folder: Path, names: Iterable[str]) -> list[bytes]:
        """Small files of a folder, in one answer."""
        return [(folder / name).read_bytes() for name in names]

    def begin(self, folder: Path, writers: str) -> None:
        """From now on these workers write to the run's folder, and no others."""
        self.writers[folder] = writers

    def write(self, folder: Path, writers: str, name: str, offset: int, piece: bytes) -> None:
        """Cut a file of the run off at `offset`, and append; the same call again changes nothing."""
        self._check(folder, writers)
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as opened:
            opened.truncate(offset)
            opened.write(piece)

    def replace(self, folder: Path, writers: str, name: str, target: str) -> None:
        """Give a file its name, once it is whole."""
        self._check(folder, writers)
        os.replace(folder / name, folder / target)

    def remove(self, folder: Path, writers: str, names: Iterable[str]) -> None:
        """Remove files, and the folders of checkpoints that are empty then."""
        self._check(folder, writers)
        for file in (folder / name for name in names):
            file.unlink(missing_ok=True)
            if file.parent.exists() and not any(file.parent.iterdir()):
                file.parent.rmdir()

    def existing(self, folder: Path, names: Iterable[str]) -> list[str]:
        """Those of the files that are in the folder."""
        return [name for name in names if (folder / name).exists()]

    def _check(self, folder: Path, writers: str) -> None:
        if self.writers[folder] != writers:
            raise Superseded(str(folder))


def sizes(folder: Path) -> dict[str, int]:
    """Path of each file below a folder, relative to it -> its bytes; without files that are still being written."""
    files = (file for file in folder.rglob("*") if file.suffix != ".part" and file.is_file())
    return {str(file.relative_to(folder)): file.stat().st_size for file in files}


def serve(lacking: Iterable[str]) -> None:
    """Serve the home folder to nodes that do not see it; Ray must be connected."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if find() is None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # Several threads: a node that fetches data must not hold up what others write.
        options = {"num_cpus": 0, "max_concurrency": 8, "name": ACTOR, "scheduling_strategy": here}
        _started[:] = [ray.remote(HomeFiles).options(**options).remote()]
    ray.get(find().add.remote(list(lacking)))


def find() -> Any:
    """The actor; None where all nodes that were asked see the home folder."""
    import ray

    try:
        return ray.get_actor(ACTOR)
    except ValueError:
        return None
