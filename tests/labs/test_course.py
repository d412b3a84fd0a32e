"""The table of contents says what the lessons' records say, and is read without torch."""

import subprocess
import sys

import pytest

import labs
from labs.core.heading import SIZES


@pytest.mark.parametrize("name", labs.names())
def test_the_table_of_contents_has_each_labs_presets_and_sizes(name: str) -> None:
    lab = labs.get(name)
    assert lab.name == name
    assert tuple(lab.presets) == labs.COURSE[name].presets
    assert tuple(lab.sizes) == SIZES


def test_the_table_of_contents_is_read_without_heavy_libraries() -> None:
    code = "import labs, sys; print(sorted({'torch', 'ray', 'pydantic', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
