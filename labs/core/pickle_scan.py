"""Looks at what a pickle would make, without making it.

A reader that runs no code of a pickle can still be made to compute for ever, by tuples in tuples whose hash takes twice
as long with each level, or to fill the memory.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from labs.core.errors import BadInput

MAX_DEPTH = 20
"""Tuples within tuples; those that torch and numpy write have five levels at most."""
MAX_MEMO = 1_000_000
"""Largest number under which a value is kept, as a reader makes room for as many."""
MAX_BYTES = 200_000_000
"""Of a pickle that is looked at; the tensors' values are in files of their own."""
ZIP = b"PK\x03\x04"
"""First bytes of a zip file."""
LEGACY = 5
"""Pickles that `torch.save` wrote one after the other before it made zip files, ahead of the values."""


def refuse_hostile(pickled: BinaryIO) -> None:
    """Walk through the operations of one pickle, from the stream's position to the pickle's end.

    Raises:
        BadInput: it nests tuples deeply, or asks for memory of any size; the message is the end of a sentence.
    """
    stack: list[int | None] = []  # depth of each value's tuples, None for a mark
    memo: dict[int, int | None] = {}
    for operation, argument, _ in pickletools.genops(pickled):
        name = operation.name
        if isinstance(argument, str) and argument.split()[-1:] == ["bytearray"]:
            raise BadInput("expected tensors or lists, found a pickle that asks for memory of any size")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            number = len(memo) if name == "MEMOIZE" else int(argument or 0)
            if number > MAX_MEMO:
                raise BadInput("expected tensors or lists, found a pickle that asks for memory of any size")
            memo[number] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        else:
            depth = max(_taken(stack, operation), default=0) + ("TUPLE" in name)
            if depth > MAX_DEPTH:
                raise BadInput(f"expected tensors or lists, found more than {MAX_DEPTH} tuples within each other")
            stack += [None if made is pickletools.markobject else depth for made in operation.stack_after]


def refuse_hostile_weights(path: Path) -> None:
    """As `refuse_hostile`, of the pickle in a file that `torch.save` wrote; it compresses nothing, and a zip file whose
    content is larger than the file was made to fill the memory.

    Raises:
        BadInput: it is such a file; the message is the end of a sentence.
        pickle.UnpicklingError: it is no pickle, or a zip file that is damaged.
    """
    try:
        for pickled in _pickles(path):
            refuse_hostile(pickled)
    except (BadInput, OSError):
        raise
    except Exception as error:  # of any class, as for `pickle` itself
        raise pickle.UnpicklingError(str(error)) from None


def _pickles(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as stream:
        is_zip = stream.read(len(ZIP)) == ZIP  # by which torch decides, too
        if not is_zip:
            stream.seek(0)
            yield from (stream for _ in range(LEGACY))
            return
    with zipfile.ZipFile(path) as file:
        size = sum(entry.file_size for entry in file.infolist())
        if size > path.stat().st_size:
            raise BadInput(f"expected what torch.save wrote, found a file that unpacks to {size} bytes")
        for entry in file.infolist():
            if entry.filename.endswith("data.pkl"):
                if entry.file_size > MAX_BYTES:
                    raise BadInput(f"expected tensors, found a pickle of {entry.file_size} bytes")
                yield io.BytesIO(file.read(entry))


def _taken(stack: list[int | None], operation: Any) -> list[int]:
    """Remove what an operation takes from the stack; the depths of the values."""
    before, taken = operation.stack_before, []
    if pickletools.markobject in before:
        while (value := stack.pop()) is not None:
            taken.append(value)
        before = before[: before.index(pickletools.markobject)]
    return taken + [value for _ in before if (value := stack.pop()) is not None]
