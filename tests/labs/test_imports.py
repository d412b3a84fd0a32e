"""Imports run one way: pipelines -> labs, pipelines -> cluster; `labs` is torch alone, `cluster` knows no lab."""

import ast
from pathlib import Path

import pytest

import labs

ROOT = Path(labs.__file__).parent.parent
FORBIDDEN = {"labs": {"ray", "mlflow", "pipelines", "cluster"}, "cluster": {"labs", "pipelines", "mlflow"}}
RL = {"labs/rl/lesson.py"}
FILES = [path.relative_to(ROOT).as_posix() for package in FORBIDDEN for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("name", FILES)
def test_imports_run_one_way(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    forbidden = FORBIDDEN[name.split("/")[0]] - ({"ray"} if name in RL or name.startswith("labs/rl/") else set())
    assert not {module for module in imported if module.split(".")[0] in forbidden}


def test_only_rllib_and_the_start_of_a_local_ray_are_taken_from_ray() -> None:
    for name in FILES:
        if name in RL or name.startswith("labs/rl/"):
            tree = ast.parse((ROOT / name).read_text())
            modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
            modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
            assert all(m == "ray" or m.startswith("ray.rllib") for m in modules if m.split(".")[0] == "ray")


def test_importing_the_registry_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import labs, sys; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]
