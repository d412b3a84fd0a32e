"""Promises of the anomaly lab's data: the course's format, its faults, and how its faces are drawn."""

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from labs.anomaly import data
from labs.anomaly.lesson import LAB
from labs.core import shards
from labs.shared.vision.avatars import CHANGES, FAR, NEAR, avatar
from tests.labs.folders import one_fault

__all__ = ["LAB"]  # whose data the fixtures make


def test_the_format_is_the_courses(source: Path) -> None:
    """NumPy reads two uint8 arrays, channels last; half of the test faces are anomalies, of every kind."""
    for name, count in ((data.TRAIN, 60), (data.TEST, 40)):
        array = np.load(source / name)
        assert (array.shape, array.dtype) == ((count, 64, 64, 3), np.uint8)
    kinds = Counter(data.answers(source))
    assert kinds == {"normal": 20, "near": 5, "far": 3, **dict.fromkeys(CHANGES, 3)}


def test_a_face_follows_its_random_stream() -> None:
    """The same stream gives the same face and factors; another one another face; factors say how it was drawn."""
    (first, factors), (again, same) = (avatar(random.Random(5)) for _ in range(2))
    assert np.array_equal(first, again)
    assert factors == same
    assert not np.array_equal(first, avatar(random.Random(6))[0])
    assert (first.shape, first.dtype) == ((64, 64, 3), np.uint8)
    assert {"hair", "eyes", "mouth"} <= set(factors["parts"])
    assert np.abs(first[0, 0] / 255 - factors["background"]).max() < 0.01


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_leaves_the_rest_of_the_face(change: str) -> None:
    """The face with and without the change has the same factors, but for the skin where that changes, and most of the
    picture."""
    plain, changed = (avatar(random.Random(8), change=name) for name in ("", change))
    fraction = (plain[0] != changed[0]).any(2).mean()
    assert 0.005 < fraction < 0.6
    differing = {name for name in plain[1] if plain[1][name] != changed[1][name]}
    assert differing == ({"change", "skin"} if change == "recoloured" else {"change"})


@pytest.mark.parametrize("style", [*NEAR, *FAR])
def test_other_styles_are_drawn(style: str) -> None:
    """Each has more than one colour and is no face of the normal style."""
    picture, factors = avatar(random.Random(1), style)
    assert factors["style"] == style
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5
    assert not np.array_equal(picture, avatar(random.Random(1))[0])


def _save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=True)


FAULTS = {
    "missing": (lambda path: path.unlink(), "trainingset.npy is missing"),
    "text": (
        lambda path: path.write_text("no array"),
        "data/trainingset.npy: expected an array in NumPy's format, found something else",
    ),
    "objects": (
        lambda path: _save(path, np.array([{}, {}], object)),
        "data/trainingset.npy: expected values of type uint8, found object",
    ),
    "floats": (
        lambda path: _save(path, np.zeros((4, 64, 64, 3), np.float32)),
        "data/trainingset.npy: expected values of type uint8, found float32",
    ),
    "channels first": (
        lambda path: _save(path, np.zeros((4, 3, 64, 64), np.uint8)),
        "data/trainingset.npy: expected shape (N, 64, 64, 3), channels last, found (4, 3, 64, 64)",
    ),
    "fortran": (
        lambda path: _save(path, np.asfortranarray(np.zeros((4, 64, 64, 3), np.uint8))),
        "data/trainingset.npy: expected shape (N, 64, 64, 3), channels last, found (4, 64, 64, 3) in Fortran order",
    ),
    "too few": (
        lambda path: _save(path, np.zeros((1, 64, 64, 3), np.uint8)),
        "data/trainingset.npy: expected at least 20 pictures, found 1",
    ),
    "cut": (
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        f"data/trainingset.npy: expected {60 * 12288} bytes of 60 pictures, found {60 * 12288 - 5}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_the_fault(fault: str, source: Path, tmp_path: Path) -> None:
    """One sentence per fault, with the file, what was found and what was expected."""
    change, message = FAULTS[fault]
    assert message in one_fault(data.check, source, tmp_path / "mine", lambda d: change(d / data.TRAIN))


def test_an_empty_test_set_is_named(source: Path, tmp_path: Path) -> None:
    """The test set is checked like the training set, but may be smaller."""
    shutil.copytree(source / "data", tmp_path / "data")
    _save(tmp_path / data.TEST, np.zeros((0, 64, 64, 3), np.uint8))
    assert data.check(tmp_path) == ["data/testingset.npy: expected at least 2 pictures, found 0"]


def test_packing_keeps_every_picture(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed in records that don't divide the count, pictures come out in order and as they were."""
    monkeypatch.setattr(data, "RECORD", 7)
    manifest = data.prepare(source, tmp_path, "folder")
    assert manifest["splits"] == {"train": 60, "test": 40}
    for split, name in (("train", data.TRAIN), ("test", data.TEST)):
        (images,) = shards.ArrowDataset(tmp_path, split, ("image",)).columns
        assert torch.equal(images.all(), torch.from_numpy(np.load(source / name)))
