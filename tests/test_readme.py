"""The README: every command in it is one that the program takes, every file that it names is there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Said

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted({line.split("#")[0].strip() for line in re.findall(r"^labs .*$", README, re.M) if "|" not in line})


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_takes_the_readmes_commands(labs_cli: Callable[..., Said], command: str) -> None:
    """`--help` comes after the options were read, so an unknown command or option fails."""
    words = shlex.split(command)[1:]
    before = words[: words.index("--")] if "--" in words else words
    assert labs_cli(*before, "--help").code == 0


BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.S)


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.startswith("#")])
def test_the_readmes_pipelines_are_valid_specs(tmp_path: Path, block: str) -> None:
    from pipelines.spec import read_spec

    whole = block if block.startswith("name:") else f"name: part\nnodes:\n{block}"
    (tmp_path / "mine.yaml").write_text(whole)
    assert [node.name for node in read_spec(tmp_path / "mine.yaml")[1]]


def test_the_readmes_search_space_is_one_that_the_lab_takes(tmp_path: Path) -> None:
    import labs
    from pipelines.tuning.space import Space, read_space

    (block,) = (block for block in BLOCKS if block.startswith("# labs tune regression"))
    (tmp_path / "space.yaml").write_text(block)
    assert Space(labs.get("regression"), read_space(tmp_path / "space.yaml"), "strong", "small", {}).entries


def test_the_files_that_the_readme_names_are_there() -> None:
    layout = README[README.index("## How it is put together") :]
    block = re.findall(r"```\n(.*?)```", layout, re.S)[0]
    folder, missing = "", []
    for line in block.splitlines():
        if not line.startswith(" "):
            folder = line.split("/")[0]
        names = re.findall(r"[\w/]+\.py|\w+/", line.split("      ")[0] if line.startswith(" ") else "")
        missing += [f"{folder}/{name}" for name in names if not (ROOT / folder / name).exists()]
    assert not missing
