"""Fingerprints: two runs with the same fingerprint end with the same numbers, so the second one need not run."""

import ast
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import labs

ROOT = Path(labs.__file__).parent.parent
PACKAGES = ("labs", "pipelines")


def fingerprint(facts: Mapping[str, Any], upstream: Mapping[str, str]) -> str:
    """Hex digest of everything that a run's numbers depend on.

    Args:
        facts: `lab`, `config`, `preset`, `size`, `seed`, `workers`, `threads`, `device`, `data` (`datasets.identity`).
        upstream: role -> fingerprint of the run that this one needs as that role.
    """
    parts = {
        **facts,
        "upstream": dict(upstream),
        "code": code_digest(labs.heading(facts["lab"]).module),
        "torch": _torch_version(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def worker_code(lab: str) -> str:
    """Digest of what a lab's worker executes; one that has another than the driver's would learn other numbers.

    A worker's process keeps what it has imported, and its digest: so does the driver's.
    """
    return hashlib.sha256(
        f"{code_digest('pipelines.worker')}{code_digest(labs.heading(lab).module)}".encode()
    ).hexdigest()


@cache
def _torch_version() -> str:
    return metadata.version("torch").split("+")[0]


@cache
def code_digest(module: str, root: Path = ROOT) -> str:
    """Digest of a module's source and of every module of `PACKAGES` that it imports, without comments and docstrings.

    A process reads its sources once, as it imports them once: a pipeline asks for the same ones with each node.

    Args:
        module: the module's full name.
        root: the folder that the packages lie in.
    """
    digest = hashlib.sha256()
    for name, code in sorted(_imported(module, root, {}).items()):
        digest.update(f"{name}\n{code}\n".encode())
    return digest.hexdigest()


def _imported(module: str, root: Path, found: dict[str, str]) -> dict[str, str]:
    """`found` with the code of the module and of what it imports of `PACKAGES`."""
    path = _source(module, root)
    if path is None or module in found or module == "labs":
        return found
    found[module], names = _parsed(path)
    for name in names:
        _imported(name, root, found)
    return found


@cache
def _parsed(path: Path) -> tuple[str, tuple[str, ...]]:
    """A file's code without comments and docstrings, and the names of `PACKAGES` that it imports."""
    tree = ast.parse(path.read_text())
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return ast.dump(_without_docstrings(tree)), tuple(name for name in names if name.split(".")[0] in PACKAGES)


def _source(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                part for part in body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ]
    return tree
