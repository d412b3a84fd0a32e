"""Errors of the user, each described in one clear sentence."""

import reprlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


MAX_FAULTS, MAX_SHOWN, MAX_MESSAGE = 5, 300, 2000
"""Faults of a file or folder that a message has, characters of a fault or a value in it, and of a whole message."""


_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxtuple, _repr.maxdict, _repr.maxset = 3, 8, 8, 8, 8
_repr.maxstring = _repr.maxother = MAX_SHOWN
"""Of lists within lists only the first ones: a small file can hold some whose text has no end."""


class BadInput(ValueError):
    """The user's input is wrong. The message is one sentence that says what was found and what would be right.

    What was found may be a whole file: of a message that is too long, the beginning is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(cut(message, MAX_MESSAGE))


def cut(text: str, length: int = MAX_SHOWN) -> str:
    """A text as a message quotes it: its first characters, as it may be a whole file."""
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


def shown(value: object) -> str:
    """A value as a message quotes it."""
    try:
        return cut(_repr.repr(value) if isinstance(value, list | tuple | dict | set) else repr(value))
    except ValueError:
        return "a number of thousands of digits"  # Python writes none of more than 4,300


def summary(faults: Sequence[str]) -> str:
    """The first faults of a file or folder as the end of a message, and the number of the others."""
    more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
    return "; ".join(map(cut, faults[:MAX_FAULTS])) + more


def choices(valid: Iterable[str], found: str = "") -> str:
    """The tail of a message: the valid choices, with the nearest one to what was found."""
    valid = list(valid)
    near = get_close_matches(found, valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}valid choices are {', '.join(valid)}"


def sentences(error: "ValidationError", fields: Iterable[str] = ()) -> list[str]:
    """One sentence for each thing that pydantic found wrong, naming the dotted field, the value and what is right.

    Args:
        error: what pydantic raised.
        fields: the valid field names, listed for an unknown one.
    """
    found = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            found.append(f"unknown field {where!r}: {choices(fields, where)}")
        elif fault["type"] == "missing":
            found.append(f"field {where!r} is missing")
        elif fault["type"] == "value_error":
            found.append(f"field {where!r}: {fault['ctx']['error']}" if where else str(fault["ctx"]["error"]))
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            found.append(f"field {where!r} is {shown(fault['input'])}: {message}")
    return found
