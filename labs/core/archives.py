"""Reading the picture archives that are handed in for homework 6 and homework 10."""

import tarfile
from pathlib import Path


def read_archive(file: Path, max_bytes: int) -> dict[str, bytes]:
    """Name -> content of the files of a gzipped tar archive; a leading `./`, which `tar` may write, is removed.

    Args:
        file: the archive.
        max_bytes: limit on the total size of the unpacked files. A small archive can unpack to more than memory holds.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error: the file is not a gzipped tar archive, is damaged, or unpacks
            to more than `max_bytes`.
    """
    with tarfile.open(file, "r:gz") as tar:
        members = [member for member in tar if member.isfile()]
        if sum(member.size for member in members) > max_bytes:
            raise tarfile.TarError(f"unpacked it has more than {max_bytes} bytes")
        files = [(member.name.removeprefix("./"), tar.extractfile(member)) for member in members]
        return {name: content.read() for name, content in files if content is not None}
