"""What the tests of the labs share."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from tests.labs.store import Store


@pytest.fixture(scope="session")
def store(session_folder: Path) -> Store:
    """Made data, packed data and finished runs, shared by all processes of the session."""
    return Store(session_folder / "labs")


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest, store: Store) -> Path:
    """Tiny data of the lab whose `LAB` the module imports, in the course's format."""
    return store.source(request.module.LAB.name)


@pytest.fixture(scope="module")
def data_dir(request: pytest.FixtureRequest, store: Store) -> Path:
    """The same, packed, with the test set's answers."""
    return store.data_dir(request.module.LAB.name)


@pytest.fixture(scope="module")
def upstream(request: pytest.FixtureRequest, store: Store) -> Mapping[str, Path]:
    """Role -> the finished run that a run of the module's `LAB` needs."""
    return store.upstream(request.module.LAB.name)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks: more threads would only make the tests of another process wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
