"""Python and packages against what the program needs and what it was tested with, and the same on every node."""

import platform
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from cluster.doctor.finding import Finding

ROOT = Path(__file__).parents[2]
"""The folder of the code: a checkout, a job's upload, or `site-packages`."""
PROGRAM = "ml-labs"
INSTALL = "make run does so in a checkout, pip install with the wheel of this program elsewhere"
DECISIVE = ("Python", "ray", "torch")
"""Processes of a job exchange objects of these, so no two nodes may differ in them; others change numbers at most."""


def python() -> Finding:
    """Whether the program runs on this Python."""
    version, needed = platform.python_version(), _needed()[0]
    if version in needed:
        return Finding("ok", version)
    return Finding("broken", f"{version}, {needed} is needed", "install one of these versions, and the program with it")


def packages() -> Finding:
    """Whether every package that the program needs is there, in a version that it takes."""
    needed, there = _needed()[1], versions()
    wrong = [
        f"{one.name} {there[one.name] or 'is missing'}" + (f" ({one.specifier} is needed)" if one.specifier else "")
        for one in needed
        if not there[one.name] or there[one.name] not in one.specifier
    ]
    if wrong:
        return Finding("broken", ", ".join(wrong), f"install these versions: {INSTALL}")
    others = _untested()
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        return Finding(
            "warning", f"not the tested versions: {shown}", "pip install -c .ci/constraints.txt -e . installs those"
        )
    return Finding("ok", f"{len(needed)} needed, all there: ray {there['ray']}, torch {there['torch']}")


def versions() -> dict[str, str]:
    """Name -> version of Python and of each package that the program needs; empty where one is missing."""
    return {"Python": platform.python_version()} | {one.name: _version(one.name) for one in _needed()[1]}


def differences(here: dict[str, str], there: dict[str, str]) -> Finding:
    """A node's versions, beside those of the machine that asks."""
    other = {name: version for name, version in there.items() if version != here.get(name, version)}
    if not other:
        return Finding("ok", "the versions of this machine")
    shown = ", ".join(
        f"{name} {version or 'missing'} (here {here[name] or 'missing'})" for name, version in other.items()
    )
    return Finding(
        "broken" if any(name in other for name in DECISIVE) else "warning",
        shown,
        "install the same versions on every machine of the cluster",
    )


def _needed() -> tuple[SpecifierSet, list[Requirement]]:
    """Versions of Python, and packages: as the code beside this module says, or else the installed wheel."""
    if (file := ROOT / "pyproject.toml").exists():
        project = tomllib.loads(file.read_text())["project"]
        python, lines = project["requires-python"], project["dependencies"]
    else:
        python, lines = metadata.metadata(PROGRAM)["Requires-Python"], metadata.requires(PROGRAM) or []
    needed = [Requirement(line) for line in lines]
    return SpecifierSet(python), [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]


def _untested() -> list[str]:
    """Packages here in another version than the tests pass with; a wheel does not know those."""
    file = ROOT / ".ci" / "constraints.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    tested = [Requirement(line) for line in lines if line and not line.startswith("#")]
    there = {one.name: _version(one.name) for one in tested if one.marker is None or one.marker.evaluate()}
    return [
        f"{one.name} {there[one.name]} ({one.specifier} is)"
        for one in tested
        if there.get(one.name) and there[one.name] not in one.specifier
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
