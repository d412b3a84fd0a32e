"""Reads a YAML file together with the line of every key, so that a message about a field can name its line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from labs.core.errors import BadInput

Lines = dict[tuple[str, ...], int]
"""Keys from the top down to a field, such as ("nodes", "cnn", "preset") -> line of the last one."""


def read_with_lines(path: Path) -> tuple[Any, Lines]:
    """The file's content, and the line of each key and list item.

    Raises:
        BadInput: the file is missing, is not YAML, or has a key twice, which YAML itself accepts.
    """
    if not path.exists():
        raise BadInput(f"pipeline spec {path} does not exist")
    try:
        tree = yaml.compose(path.read_text(), Loader=yaml.SafeLoader)
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise BadInput(f"{path.name}: not YAML: {' '.join(str(error).split())}") from None
    lines: Lines = {}
    faults = list(_walk(tree, (), lines)) if tree is not None else []
    if faults:
        raise BadInput(f"{path.name} {faults[0]}")
    return content, lines


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
