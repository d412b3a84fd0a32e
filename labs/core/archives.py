"""Archives of pictures that the judges of homework 6 and 10 take."""

import tarfile
from pathlib import Path


def read_archive(file: Path, most: int) -> dict[str, bytes]:
    """Name -> bytes of the files of a gzipped tar, as `tar` packs them: a leading `./` does not count.

    Args:
        most: bytes that all files may have together, unpacked; a small archive can hold far more than memory does.

    Raises:
        tarfile.TarError, OSError, EOFError, zlib.error: it is no such file, a broken one, or holds more.
    """
    with tarfile.open(file, "r:gz") as tar:
        members = [member for member in tar if member.isfile()]
        if sum(member.size for member in members) > most:
            raise tarfile.TarError(f"unpacked it has more than {most} bytes")
        files = [(member.name.removeprefix("./"), tar.extractfile(member)) for member in members]
        return {name: content.read() for name, content in files if content is not None}
