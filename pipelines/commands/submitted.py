"""What travels with a submitted command, and what can't: a job sees the head node's files and what is uploaded."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.upload import FILES_BYTES, size_of
from labs.core.errors import BadInput
from pipelines.commands.specs import find_spec

READ = ("spec", "config", "space", "data", "check")
"""Parameters that name a file or a folder which a command reads."""
WRITTEN = ("home", "out", "make", "figure")
"""Parameters that name one which it writes."""
PLACE = "files"
"""Folder of the user's files in the job's working directory."""
STORE = "MLFLOW_TRACKING_URI"
LIMIT = f"{FILES_BYTES // 2**20} MB"


@dataclass(frozen=True)
class Named:
    """A file or a folder that a command reads."""

    label: str
    """What messages call it."""
    path: Path
    """Where it would be on this machine."""
    parameter: Any = None
    """The command's parameter; None for what its pipeline spec names."""
    absolute: bool = False
    """Whether it was given with an absolute path, which may be one of the head node."""


@dataclass
class Submission:
    """A command as the job runs it."""

    command: list[str]
    files: dict[str, Path] = field(default_factory=dict)
    """Place in the job's working directory -> the file or folder of this machine that is uploaded there."""
    notes: list[str] = field(default_factory=list)
    """A sentence about each file that the command names."""


def parse(context: Any, words: list[str]) -> Any:
    """The click context of a submitted command, so that a typo ends here and not on the cluster.

    Args:
        context: of the command that submits.
        words: the submitted command, without `labs`.
    """
    command, left, names = context.find_root().command, list(words), ["labs"]
    while hasattr(command, "commands"):
        if not left:
            raise BadInput(
                f"labs submit -- {' '.join(words)}: a command is missing, such as {next(iter(command.commands))}"
            )
        name, command, left = command.resolve_command(context, left)
        names.append(name)
    return command.make_context(" ".join(names), left)


def with_files(parsed: Any, words: list[str]) -> Submission:
    """The command with the files and folders of this machine that it names, and their places in the job.

    They keep their places to one another, so that what a pipeline spec says of its data holds in the job as well.

    Args:
        parsed: the submitted command.
        words: its words, without `labs`.

    Raises:
        BadInput: a file that the command names is not here, or is too large, and can't be the head node's.
    """
    job, travelling, left = Submission(list(words)), list[Named](), FILES_BYTES
    for named in _named(parsed):
        can_travel = named.path.exists() and (named.parameter is not None or not named.absolute)
        size = size_of(named.path, left) if can_travel else None
        if size is not None:
            left -= size
            travelling.append(named)
            job.notes.append(f"{named.label} is uploaded ({size / 2**20:.1f} MB)")
        elif not named.absolute:
            raise BadInput(_refusal(named))
        else:
            why = f" is more than the {LIMIT} that travel with a job and" if can_travel else ""
            job.notes.append(f"warning: {named.label}{why} is read on the head node, not on this machine")
    base = os.path.commonpath([named.path.parent for named in travelling]) if travelling else ""
    for named in travelling:
        place = f"{PLACE}/{named.path.relative_to(base)}"
        job.files[place] = named.path
        if named.parameter is not None:
            job.command = _with_path(parsed, job.command, named.parameter, place)
    job.notes += (f"warning: {sentence}" for sentence in _written(parsed))
    return job


def _named(parsed: Any) -> Iterator[Named]:
    """What a command reads, without the pipeline specs that come with the program."""
    for parameter in parsed.command.params:
        given = parsed.params.get(parameter.name)
        if given is None or parameter.name not in READ:
            continue
        path, here = Path(given), Path(os.path.abspath(given))
        if parameter.name != "spec":
            yield Named(f"{parameter.opts[0]} {path}", here, parameter, path.is_absolute())
        elif path.is_absolute() or path.exists():
            yield Named(f"pipeline spec {path}", here, parameter, path.is_absolute())
            if here.is_file():
                yield from _data_of(path, here)
        else:
            find_spec(path)  # raises for an unknown name


def _data_of(spec: Path, here: Path) -> Iterator[Named]:
    """The data folders that a pipeline spec names; what is wrong with it is told by the job."""
    from pipelines.yaml_lines import read_with_lines

    content = read_with_lines(spec)[0]
    nodes = content.get("nodes") if isinstance(content, dict) else None
    written = [node.get("data") for node in nodes.values() if isinstance(node, dict)] if isinstance(nodes, dict) else []
    for data in dict.fromkeys(data for data in written if isinstance(data, str)):
        yield Named(f"data {data} of {spec}", Path(os.path.abspath(here.parent / data)), None, Path(data).is_absolute())


def _refusal(named: Named) -> str:
    if named.path.exists():
        return (
            f"{named.label} is more than the {LIMIT} that travel with a job: copy it to the head node, "
            "and give its absolute path there"
        )
    return f"{named.label} does not exist: correct it, or give the absolute path of one that the head node has"


def _with_path(parsed: Any, words: list[str], parameter: Any, place: str) -> list[str]:
    """The command's words with another path as the value of a parameter."""
    options = [each for each in parsed.command.params if each.param_type_name == "option" and not each.is_flag]
    with_value = {name for option in options for name in option.opts}
    start = len(parsed.command_path.split()) - 1  # the command's own names come first
    changed, before = words[:start], ""
    for word in words[start:]:
        name, _, value = word.partition("=")
        if before in parameter.opts:
            changed.append(place)
        elif name in parameter.opts and value:
            changed.append(f"{name}={place}")
        elif parameter not in options and before not in with_value and Path(word) == parsed.params[parameter.name]:
            changed.append(place)
        else:
            changed.append(word)
        before = word
    return changed


def _written(parsed: Any) -> Iterator[str]:
    """A sentence about each file or folder that the command writes."""
    for parameter in parsed.command.params:
        if (given := parsed.params.get(parameter.name)) is None or parameter.name not in WRITTEN:
            continue
        label = f"{parameter.opts[0]} {given}"
        if Path(given).is_absolute():
            yield f"{label} is written on the head node, not on this machine"
        else:
            yield (
                f"{label} is written into the job's temporary folder on the head node and lost with it: "
                "give an absolute path"
            )


def apart(words: list[str], store: str | None) -> tuple[list[str], dict[str, str]]:
    """A command without the URI of a store that lets people in, and the variables that give it to the job.

    Commands stand in lists of jobs and of processes, where anybody reads them. A store that this machine's environment
    names is not the job's.
    """
    left, coming = [], iter(words)
    for word in coming:
        if word == "--store":
            next(coming)
        elif not word.startswith("--store="):
            left.append(word)
    if store is None or left == words or not _lets_in(store):
        return words, {}
    if left[0] == "compare":  # it reads the home's runs, unless a store is named
        raise BadInput("labs compare --store reads the store from any machine: run it here, without labs submit --")
    return left, {STORE: store}


def _lets_in(uri: str) -> bool:
    """Whether a URI has a user, a password or a query string, which may have either."""
    parts = urlsplit(uri)
    return "@" in parts.netloc or bool(parts.query)


def variables_of(assignments: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The variables of `--env NAME=VALUE`, and those of `--env NAME`, whose values this shell has: the secret ones."""
    open_, secret = dict[str, str](), dict[str, str]()
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise BadInput(f"--env {name}: a variable's name has letters, digits and '_': --env NAME=VALUE, or NAME")
        if sign:
            open_[name] = value
        elif name in os.environ:
            secret[name] = os.environ[name]
        else:
            raise BadInput(f"--env {name}: this shell has no variable {name}: export it, or give --env {name}=VALUE")
    return open_, secret
