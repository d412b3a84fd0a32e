"""What the tests of the labs share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import labs
from labs.core.run import Run
from tests.labs.folders import made, packed


@pytest.fixture(scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny data of the lab whose `LAB` the module imports, in the course's format."""
    return made(request.module.LAB.data, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def data_dir(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, packed, with the test set's answers."""
    return packed(request.module.LAB.data, source, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs that explain needs: a classifier and a reader, whose pre-trained model comes from a third run."""

    def finished(lab: str, preset: str, **needed: Path) -> Path:
        record, folder = labs.get(lab), tmp_path_factory.mktemp(lab)
        (folder / "packed").mkdir()
        data = packed(record.data, made(record.data, folder / "made"), folder / "packed")
        run = Run(folder / "run", data, seed=1, upstream=needed)
        record.fit(record.resolve(preset, "tiny"), run)
        return folder / "run"

    reader = finished("bert", "boss", pretrained=finished("bert-pretrain", "spans"))
    return {"classifier": finished("cnn", "strong"), "reader": reader}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks: more threads would only make the tests of another process wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
