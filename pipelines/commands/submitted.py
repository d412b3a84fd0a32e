"""What of a submitted command can't travel: a job sees the head node's files and, of this machine, the code alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from labs.core.errors import BadInput
from pipelines.commands.specs import find_spec, packaged_specs

READ = ("spec", "config", "space", "data", "check")
"""Parameters that name a file or a folder which a command reads."""
WRITTEN = ("home", "out", "make", "figure")
"""Parameters that name one which it writes."""
STORE = "MLFLOW_TRACKING_URI"


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


def notes(parsed: Any, code: Path, packages: tuple[str, ...]) -> Iterator[str]:
    """A sentence about each file or folder that is one of the head node.

    Args:
        parsed: the submitted command.
        code: the folder that is uploaded, of which only the `packages` are.

    Raises:
        BadInput: the command needs a file that the job can't see.
    """
    for parameter in parsed.command.params:
        given = parsed.params.get(parameter.name)
        if given is None or parameter.name not in (*READ, *WRITTEN):
            continue
        path = Path(given)
        label = f"{'pipeline spec' if parameter.name == 'spec' else parameter.opts[0]} {path}"
        if parameter.name in WRITTEN:
            yield _written(label, path)
        elif path.is_absolute():
            yield f"{label} is read on the head node, not on this machine"
        elif not _travels(parameter.name, path, code, packages):
            raise BadInput(
                f"{label} stays on this machine, and a job reads the head node's files: "
                "put it there, and give its absolute path"
            )


def _written(label: str, path: Path) -> str:
    if path.is_absolute():
        return f"{label} is written on the head node, not on this machine"
    return (
        f"{label} is written into the job's temporary folder on the head node and lost with it: give an absolute path"
    )


def _travels(name: str, path: Path, code: Path, packages: tuple[str, ...]) -> bool:
    """Whether a job finds a relative path in the code that is uploaded; an unknown spec is `BadInput`."""
    file = (code / path).resolve()
    if any(file.is_relative_to(code / package) for package in packages) and file.is_file():
        return True
    return name == "spec" and (str(path) in packaged_specs() or not find_spec(path))


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
