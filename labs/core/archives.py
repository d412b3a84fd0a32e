"""Reading the picture archives that are handed in for homework 6 and homework 10."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path

from labs.core.errors import BadInput
from labs.core.listing import is_visible


def read_archive(file: Path, max_bytes: int) -> dict[str, bytes]:
    """Name -> content of the files of a gzipped tar archive; a leading `./`, which `tar` may write, is removed.

    Nothing is written to disk, whatever paths the names are; links, folders and what operating systems hide are left
    out.

    Args:
        file: the archive.
        max_bytes: limit on the size of the unpacked archive, and on what its files together state as their size. A
            small archive can unpack to more than memory holds.

    Raises:
        BadInput: the file is not a gzipped tar archive, is damaged, or unpacks to more than `max_bytes`.
    """
    try:
        with gzip.open(file) as packed:
            content = packed.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise BadInput(f"{file.name}: unpacked it has more than {max_bytes} bytes")
        # As a stream, `r|`: a damaged header can't send the reader back to an earlier place, round and round.
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|") as tar:
            return _files(tar, file.name, max_bytes)
    except BadInput:
        raise
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:  # ValueError: of a damaged header
        raise BadInput(f"{file.name} is not a whole gzipped tar file: {error}") from None


def _files(tar: tarfile.TarFile, archive: str, max_bytes: int) -> dict[str, bytes]:
    files, size = dict[str, bytes](), 0
    for member in tar:
        if not member.isfile():
            continue
        if member.size < 0:
            raise tarfile.ReadError("a file of negative size")
        size += member.size  # of a sparse file, with the holes that are not in the archive
        if size > max_bytes:
            raise BadInput(f"{archive}: unpacked it has more than {max_bytes} bytes")
        name, content = member.name.removeprefix("./"), tar.extractfile(member)
        if content is not None and all(is_visible(part) for part in name.split("/") if part not in (".", "..")):
            files[name] = content.read()
    return files
