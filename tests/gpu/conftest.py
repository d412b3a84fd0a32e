"""The suite for GPUs (`make gpu`): skipped, with the reason, where torch finds none."""

from pathlib import Path

import pytest
import torch

from tests.labs.store import Store

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this folder where there is no GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="torch finds no GPU"))


@pytest.fixture(scope="session")
def store(session_folder: Path) -> Store:
    """Tiny data and finished runs, trained on the GPU."""
    return Store(session_folder / "labs")
