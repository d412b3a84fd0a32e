"""Reads YAML: text as plain data, and a file together with the line of every key, for messages about a field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from labs.core.errors import BadInput
from labs.core.text_file import read_text

Lines = dict[tuple[str, ...], int]
"""Keys from the top down to a field, such as ("nodes", "cnn", "preset") -> line of the last one."""


def read_with_lines(path: Path) -> tuple[Any, Lines]:
    """The file's content, and the line of each key and list item.

    Raises:
        BadInput: the file is missing, is not YAML, or has a key twice, which YAML itself accepts.
    """
    text = read_text(path, "pipeline spec")
    content = parse(text, path.name)
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    lines: Lines = {}
    faults = list(_walk(tree, (), lines)) if tree is not None else []
    if faults:
        raise BadInput(f"{path.name} {faults[0]}")
    return content, lines


def parse(text: str, where: str) -> Any:
    """The plain data of YAML text; `BadInput`, which begins with `where`, if it is not YAML or holds a tag."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of a date such as 2022-13-01
        raise BadInput(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def read_fields(path: Path, what: str) -> dict[str, Any]:
    """The fields of a YAML file that must hold `field: value` lines; `what` it is, for messages."""
    content = parse(read_text(path, what), f"{what} {path}") or {}
    if not isinstance(content, dict):
        raise BadInput(f"{what} {path} must hold 'field: value' lines")
    return content


def nearest_line(lines: Lines, place: tuple[str, ...]) -> int:
    """Line of a field, or of the nearest key above it that the file has."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _walk(node: yaml.Node, path: tuple[str, ...], lines: Lines) -> Iterator[str]:
    """Note the line of every key in `lines`; yield a sentence for each key that stands twice."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                yield f"line {line}: {'.'.join(here)} stands twice, first on line {lines[here]}"
            lines[here] = line
            yield from _walk(value, here, lines)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[(*path, str(number))] = value.start_mark.line + 1
            yield from _walk(value, (*path, str(number)), lines)
