"""Reads YAML: text as plain data, and a file together with the line of every key, for messages about a field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from labs.core.errors import BadInput, cut
from labs.core.text_file import read_text

MAX_NODES = 100_000
"""Values of the largest file: a few lines of aliases of aliases stand for more than memory holds."""
Lines = dict[tuple[str, ...], int]
"""Keys from the top down to a field, such as ("nodes", "cnn", "preset") -> line of the last one."""


def read_with_lines(path: Path) -> tuple[Any, Lines]:
    """The file's content, and the line of each key and list item.

    Raises:
        BadInput: the file can't be read, is not YAML, or has a key twice, which YAML itself accepts.
    """
    text = read_text(path, "pipeline spec")
    content = parse(text, path.name)
    return content, _lines(text, path.name)


def parse(text: str, where: str) -> Any:
    """The plain data of YAML text.

    Raises:
        BadInput: it is not YAML, holds a tag, is nested too deeply, or its aliases unfold to more than `MAX_NODES`
            values; the message begins with `where`.
    """
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        nodes = 0 if tree is None else _count(tree, {})
        content = yaml.safe_load(text) if nodes <= MAX_NODES else None
    except RecursionError:
        raise BadInput(f"{where} is nested too deeply, or has an alias inside of what it stands for") from None
    except Exception as error:  # a date such as 2022-13-01, or `!!int x`, raises what Python raises
        raise BadInput(f"{where} is not YAML: {cut(' '.join(str(error).split()))}") from None
    if nodes > MAX_NODES:
        raise BadInput(f"{where} has more than {MAX_NODES} values, its aliases unfolded")
    return content


def read_fields(path: Path, what: str) -> dict[str, Any]:
    """The fields of a YAML file that must hold `field: value` lines, none of them twice; `what` it is, for messages."""
    text = read_text(path, what)
    content = parse(text, f"{what} {path}")
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise BadInput(f"{what} {path} must hold 'field: value' lines")
    _lines(text, f"{what} {path}")
    return content


def nearest_line(lines: Lines, place: tuple[str, ...]) -> int:
    """Line of a field, or of the nearest key above it that the file has."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values of a tree, each alias counted as what it stands for."""
    if id(node) not in known:
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = () if isinstance(node, yaml.ScalarNode) else parts
        known[id(node)] = 1 + sum(_count(part, known) for part in inner)
    return known[id(node)]


def _lines(text: str, where: str) -> Lines:
    """The line of each key and list item of YAML text; `BadInput` where a key stands twice."""
    tree = yaml.compose(text, Loader=yaml.SafeLoader)
    lines: Lines = {}
    faults = list(_walk(tree, (), lines)) if tree is not None else []
    if faults:
        raise BadInput(f"{where} {faults[0]}")
    return lines


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
