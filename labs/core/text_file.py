"""Reads a user's text file, whichever program on whichever system has written it."""

import codecs
from pathlib import Path

from labs.core.errors import BadInput

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, what: str) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark, or in UTF-16 with one.

    Args:
        path: the file.
        what: what it is, as the subject of a message: `config file`.

    Raises:
        BadInput: the file is missing, is a folder, can't be read, or has another encoding.
    """
    if not path.exists():
        raise BadInput(f"{what} {path} does not exist")
    if path.is_dir():
        raise BadInput(f"{what} {path} is a folder, not a file")
    try:
        content = path.read_bytes()
        return content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except OSError as error:
        raise BadInput(f"{what} {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} {path} is not text in UTF-8: byte {error.start} does not belong to it") from None
