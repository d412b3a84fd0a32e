"""The house's rules, read from the source: imports run one way, and no circle passes through them.

Imports for the type checker alone count as well: what must be read to understand a module is what it names.
"""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import labs

ROOT = Path(labs.__file__).parent.parent
PACKAGES = ("labs", "pipelines", "cluster")
FILES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
FORBIDDEN = {"labs": {"ray", "mlflow", "pipelines", "cluster"}, "cluster": {"labs", "pipelines", "mlflow"}}
BUILDS_ON = {("compression", "cnn"), ("explain", "cnn"), ("explain", "bert")}
"""The labs of the course that build on another lab."""
NOT_FOR_DATA = {"run", "networks", "judge", "victims", "lesson"}
"""What a course's format on disk knows nothing of."""


@cache
def imported(file: str) -> frozenset[str]:
    """Modules that a file imports: those of this program by their own names, others by their top package."""
    found = set[str]()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            module = node.module or ""
            below = {f"{module}.{alias.name}" for alias in node.names}
            found.update(below & MODULES.keys())
            if not below <= MODULES.keys():
                found.add(module)
    return frozenset(found)


def place(module: str) -> tuple[str, str]:
    """Floor and room of a module of `labs`: ("lab", "cnn"), ("shared", "vision"), ("core", "")."""
    parts = module.split(".")
    if len(parts) == 1:
        return "course", ""
    if parts[1] in ("core", "shared"):
        return parts[1], parts[2] if parts[1] == "shared" and len(parts) > 2 else ""
    return "lab", parts[1]


@pytest.mark.parametrize("file", FILES)
def test_packages_know_only_what_they_stand_on(file: str) -> None:
    forbidden = FORBIDDEN.get(file.split("/")[0], set()) - ({"ray"} if file.startswith("labs/rl/") else set())
    assert not {module for module in imported(file) if module.split(".")[0] in forbidden}


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("labs/")])
def test_a_lab_stands_on_shared_parts_and_those_on_the_core(file: str) -> None:
    module = next(name for name, path in MODULES.items() if path == file)
    floor, room = place(module)
    for other in imported(file):
        if other.split(".")[0] != "labs":
            continue
        below, its_room = place(other)
        allowed = {
            "course": below in ("core", "lab"),
            "core": below == "core",
            "shared": below in ("core", "shared"),
            "lab": below != "lab" or its_room == room or (room, its_room) in BUILDS_ON,
        }
        assert allowed[floor], f"{module} imports {other}"


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("labs/") and file.endswith("/data.py")])
def test_a_format_on_disk_knows_no_run_network_or_judge(file: str) -> None:
    assert not {module for module in imported(file) if module.split(".")[-1] in NOT_FOR_DATA}


def test_no_circle_of_imports() -> None:
    graph = {module: imported(file) & MODULES.keys() for module, file in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_rl_lab_takes_only_rllib_and_the_start_of_a_local_ray_from_ray() -> None:
    modules = {module for file in FILES if file.startswith("labs/rl/") for module in imported(file)}
    of_ray = {module for module in modules if module.split(".")[0] == "ray"}
    assert all(module == "ray" or module.startswith("ray.rllib") for module in of_ray)
