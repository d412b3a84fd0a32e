"""Reads the submission of homework 12: the course's `Action_List.npy`, or the same lists as JSON.

The lists of five episodes have different lengths, so numpy stores them as an array of Python objects, which it pickles.
A pickle can run any code. This reader lets one build nothing but lists of numbers: what it asks for by name are
placeholders of numpy's array, type and number, which only keep what they are given.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from labs.core.errors import BadInput, shown
from labs.core.pickle_scan import refuse_hostile
from labs.core.text_file import read_json

MAGIC = b"\x93NUMPY"
MAX_BYTES = 2_000_000
"""The course's limit on the file's size."""
INTEGERS = ("i", "u")
"""Kinds of numpy's types of whole numbers."""


def read(file: Path) -> Any:
    """The content of a submission, in the course's form lists of actions; nothing about it is checked.

    Raises:
        BadInput: it can't be read.
    """
    with file.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if not content.startswith(MAGIC):
        return read_json(file)
    if len(content) > MAX_BYTES:
        raise BadInput(f"{file.name}: expected at most {MAX_BYTES} bytes, found more")
    try:
        return _read_array(content)
    except BadInput as error:
        raise BadInput(f"{file.name}: {error}") from None
    except Exception as error:  # numpy and pickle each have errors of their own for a broken file
        raise BadInput(f"{file.name}: expected an array of lists of actions, found a broken file or other objects "
                       f"({type(error).__name__}); numpy.save(file, numpy.array(lists, dtype=object)) writes one"
                       ) from None  # fmt: skip


def _read_array(content: bytes) -> Any:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if math.prod(max(1, length) for length in shape) > MAX_BYTES:  # an axis of length 0 makes lists without a number
        raise BadInput(f"expected lists of actions, found an array of shape {shown(shape)}")
    if not dtype.hasobject:  # lists of equal length are a plain array
        return np.load(io.BytesIO(content), allow_pickle=False).tolist()
    pickled = content[file.tell() :]
    refuse_hostile(io.BytesIO(pickled))
    array = _Unpickler(io.BytesIO(pickled)).load()
    if not isinstance(array, Array):
        return array
    return _nested([value.plain() if isinstance(value, Array) else value for value in array.plain()], shape)


def _nested(values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Values, in the order of their last index, as lists of an array's shape."""
    if math.prod(shape) != len(values):
        raise BadInput(f"expected an array of shape {shown(shape)}, found {len(values)} values")
    for length in shape[:0:-1]:
        values = [values[start : start + length] for start in range(0, len(values), length)]
    return values


class Array:
    """In the place of numpy's array: keeps the values that it is given."""

    kind: Any = None
    values: Any = None

    def __setstate__(self, state: Any) -> None:
        _, _, self.kind, _, self.values = state

    def __repr__(self) -> str:
        return "an array"

    def plain(self) -> list[Any]:
        """The values: objects, or whole numbers that are stored as bytes."""
        if isinstance(self.values, bytes) and isinstance(self.kind, Type):
            width = int(self.kind.name[1:])
            parts = range(0, len(self.values), width)
            return [_number(self.kind, self.values[start : start + width]) for start in parts]
        if not isinstance(self.values, list):
            raise BadInput("expected an array of lists, found another one")
        return self.values


class Type:
    """In the place of numpy's type: keeps its name, such as `i8`."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _number(kind: Type, content: bytes) -> int:
    """In the place of numpy's number: a whole number of Python."""
    if kind.name[:1] not in INTEGERS:
        raise BadInput(f"expected whole numbers as actions, found numbers of type {shown(kind.name)}")
    return int.from_bytes(content, "big" if kind.order == ">" else "little", signed=kind.name[0] == "i")


class _Unpickler(pickle.Unpickler):
    """Knows only the names that numpy writes for an array of lists."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            known = {"_reconstruct": lambda *_: Array(), "scalar": lambda *given: _number(*given)}
        else:
            known = {"ndarray": Array, "dtype": Type} if module == "numpy" else {}
        if name not in known:
            raise BadInput(f"expected lists of actions alone, found the object {shown(f'{module}.{name}')}, which is "
                           "not read as it can run code")  # fmt: skip
        return known[name]
