"""Reads text files of users, whichever program on whichever system has written them: plain text, JSON and CSV."""

import codecs
import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from labs.core.errors import BadInput

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MAX_BYTES = 1_000_000
"""Largest config, space or spec that is read: YAML of that size takes ten seconds and a hundred times its memory."""
MAX_LINE = 1 << 20
"""Characters after which a line of a table is cut, so that a file without line ends does not fill the memory."""


def read_text(path: Path, what: str) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark, or in UTF-16 with one.

    Args:
        path: the file.
        what: what it is, as the subject of a message: `config file`.

    Raises:
        BadInput: the file is missing, is a folder, can't be read, is too large, or has another encoding.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadInput(f"{what} {path} does not exist") from None
    except IsADirectoryError:
        raise BadInput(f"{what} {path} is a folder, not a file") from None
    except OSError as error:
        raise BadInput(f"{what} {path} can't be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise BadInput(f"{what} {path} has more than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} {path} is not text in UTF-8: byte {error.start} does not belong to it") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8.

    Raises:
        BadInput: it is not JSON in UTF-8, is nested too deeply, or has a number that is too long or half a character.
        OSError: it is missing or can't be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        json.dumps(content, ensure_ascii=False).encode()  # JSON can hold a lone surrogate, which UTF-8 can't
    except RecursionError:
        raise BadInput(f"{path.name}: expected JSON in UTF-8, found a fault: it is nested too deeply") from None
    except ValueError as error:  # of the decoder, of JSON, and of a number with thousands of digits
        raise BadInput(f"{path.name}: expected JSON in UTF-8, found a fault: {error}") from None
    return content


def csv_rows(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV file in UTF-8, with or without a byte-order mark and empty lines at its end.

    Raises:
        BadInput: it is not text in UTF-8, or a row is no row of a table.
        OSError: it is missing or can't be read.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(iter(partial(file.readline, MAX_LINE), ""))
        empty = 0
        try:
            for row in rows:
                if row:
                    yield from ([] for _ in range(empty))
                    yield row
                empty = 0 if row else empty + 1
        except UnicodeDecodeError as error:
            found = error.object[max(0, error.start - 20) : error.start + 20]
            raise BadInput(f"{path.name} is not in UTF-8: it has the bytes {found!r}") from None
        except csv.Error as error:
            raise BadInput(f"{path.name} line {rows.line_num}: {error}") from None
