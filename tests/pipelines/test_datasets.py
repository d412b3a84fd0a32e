"""Prepared data: what is seen of them while they are prepared, and when they are prepared anew."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import labs
from pipelines import datasets
from tests.conftest import Said


def test_a_look_at_data_that_move_to_their_place_is_no_error(tmp_path: Path) -> None:
    """Data are put together beside their place and moved there as a whole, while the display asks how much there is."""
    places, moved, faults = [tmp_path / "0"], threading.Event(), []

    def look() -> None:
        while not moved.is_set():
            try:
                datasets.packed_bytes(places[-1])
            except OSError as error:
                faults.append(error)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(500):
        part = tmp_path / f".{number}"
        part.mkdir()
        places.append(tmp_path / str(number))
        for name in "abcdefgh":
            (part / f"{name}.arrow").write_bytes(b"packed")
        os.replace(part, places[-1])
    moved.set()
    watcher.join()
    assert not faults


def _same_size_and_time(file: Path) -> None:
    """As `rsync --times` or a restored archive leaves a file."""
    stat = file.stat()
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _replaced(file: Path) -> None:
    """Another file under the same name, as editors save."""
    stat, other = file.stat(), file.with_suffix(".new")
    other.write_bytes(file.read_bytes()[::-1])
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"1"),
    "same size and time": _same_size_and_time,
    "replaced": _replaced,
    "removed": Path.unlink,
    "renamed": lambda file: file.rename(file.with_suffix(".old")),
}


@pytest.mark.parametrize("linked", ["file", "link to the file", "link to the folder"])
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_a_data_folder_changes_where_its_data_are_prepared(
    tmp_path: Path, change: str, linked: str
) -> None:
    """Also behind links: nobody copies a large data set into each folder that uses it."""
    folder, stored = tmp_path / "data", tmp_path / "stored"
    stored.mkdir()
    (stored / "a.csv").write_bytes(b"12345")
    if linked == "link to the folder":
        folder.symlink_to(tmp_path / "outer")
        (tmp_path / "outer").mkdir()
        (tmp_path / "outer/inner").symlink_to(stored)
        (stored / "back").symlink_to(tmp_path / "outer")  # a circle
    else:
        folder.mkdir()
        (folder / "a.csv").symlink_to(stored / "a.csv") if linked != "file" else (stored / "a.csv").rename(
            folder / "a.csv"
        )
    lab = labs.get("regression")
    before = datasets.location(tmp_path, lab, "tiny", folder)
    assert datasets.location(tmp_path, lab, "tiny", folder) == before
    CHANGES[change](folder / "a.csv" if linked == "file" else stored / "a.csv")
    assert datasets.location(tmp_path, lab, "tiny", folder) != before


def test_data_of_a_folder_are_prepared_anew_by_a_reader_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version may pack more of the same files, such as the course's teacher."""
    (tmp_path / "data").mkdir()
    lab = labs.get("compression")
    before = datasets.location(tmp_path, lab, "tiny", tmp_path / "data")
    monkeypatch.setattr(datasets, "code_digest", lambda module: f"another {module}")
    assert datasets.location(tmp_path, lab, "tiny", tmp_path / "data") != before


@pytest.mark.timeout(60)
def test_a_pipe_among_the_data_is_named_and_not_waited_for(tmp_path: Path, labs_cli: Callable[..., Said]) -> None:
    """A reader opens it and waits for a writer that never comes."""
    os.mkfifo(tmp_path / "covid.train.csv")
    said = labs_cli("train", "regression", "--data", tmp_path)
    assert said.code == 2
    assert "covid.train.csv is a pipe, a socket or a device" in said.err
