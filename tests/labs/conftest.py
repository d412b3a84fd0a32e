"""What the tests of the labs share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.labs.folders import made, packed


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny data of the lab whose `LAB` the module imports, in the course's format."""
    return made(request.module.LAB.data, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def data_dir(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, packed, with the test set's answers."""
    return packed(request.module.LAB.data, source, tmp_path_factory.mktemp("packed"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks: more threads would only make the tests of another process wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
