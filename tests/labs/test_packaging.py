"""What came with the packaging of a data folder is no fault in any lab: it is packed to the same values as without.

Each change is what some system or program does to every data set; `labs.core.listing` and `text_file` see through it.
"""

import csv
import gzip
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import labs
from labs.core.archives import read_archive
from labs.core.text_file import csv_rows
from pipelines import datasets
from tests.labs.store import Store

WITH_DATA = [name for name in labs.names() if labs.get(name).data]
TEXT = (".csv", ".txt", ".json", ".en", ".zh")
BOM = b"\xef\xbb\xbf"


def files(folder: Path) -> Iterator[Path]:
    """The files that the course gives."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and "answers" not in path.parts)


def in_a_top_folder(folder: Path) -> None:
    """As an archive unpacks, twice as Windows does it, with the archive itself and macOS' own folder beside it."""
    inside = folder.with_name("inside")
    folder.rename(inside)
    (folder / "hw").mkdir(parents=True)
    inside.rename(folder / "hw/hw")
    (folder / "hw.zip").write_bytes(b"PK")
    (folder / "__MACOSX").mkdir()


def with_system_files(folder: Path) -> None:
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.jpg", "Icon\r"):
            (place / name).write_bytes(b"\0")
        (place / "@eaDir").mkdir()


def with_byte_order_marks(folder: Path) -> None:
    for path in files(folder):
        if path.suffix in TEXT:
            path.write_bytes(BOM + path.read_bytes())


def with_line_ends_of_windows(folder: Path) -> None:
    """And a line end after the last line, where there is none."""
    for path in files(folder):
        if path.suffix in TEXT:
            path.write_bytes(path.read_bytes().rstrip(b"\n").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n")


def with_upper_case_endings(folder: Path) -> None:
    for path in files(folder):
        if "masks" not in path.parent.name:  # a mask is this program's own, and found by the name of its image
            path.rename(path.with_suffix(path.suffix.upper()))


CHANGES = [
    in_a_top_folder,
    with_system_files,
    with_byte_order_marks,
    with_line_ends_of_windows,
    with_upper_case_endings,
]


def digest(lab: str, folder: Path, out: Path) -> str:
    """Digest of the packed values."""
    out.mkdir()
    record = labs.get(lab)
    packed: str = record.data.prepare(datasets.check(record, folder), out, "folder")["digest"]  # type: ignore[union-attr]
    return packed


@pytest.fixture(scope="module")
def digests(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Lab -> digest of its unchanged data."""
    known = dict[str, str]()

    def of(lab: str) -> str:
        if lab not in known:
            known[lab] = digest(lab, store.source(lab), tmp_path_factory.mktemp("packed") / lab)
        return known[lab]

    return of


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("lab", WITH_DATA)
def test_packaging_is_no_fault(
    lab: str, change: Callable[[Path], None], store: Store, digests: Callable[[str], str], tmp_path: Path
) -> None:
    shutil.copytree(store.source(lab), tmp_path / "data")
    change(tmp_path / "data")
    assert digest(lab, tmp_path / "data", tmp_path / "packed") == digests(lab)


TOP_FOLDERS = {"anomaly": "data", "attack": "data", "gan": "faces", "explain": "food", "classification": "libriphone",
               "adaptation": "real_or_drawing", "lifelong": "MNIST"}  # fmt: skip


@pytest.mark.parametrize("lab", TOP_FOLDERS)
def test_the_top_folder_of_the_courses_archive_may_be_named(lab: str, store: Store, tmp_path: Path) -> None:
    """`--data faces` is what `--data .` is where `faces` lies."""
    shutil.copytree(store.source(lab) / TOP_FOLDERS[lab], tmp_path / TOP_FOLDERS[lab])
    folders = (tmp_path, tmp_path / TOP_FOLDERS[lab])
    assert len({digest(lab, folder, tmp_path / f".{number}") for number, folder in enumerate(folders)}) == 1


def _rename(*pairs: tuple[str, str]) -> Callable[[Path], None]:
    def rename(folder: Path) -> None:
        for old, new in pairs:
            (folder / new).parent.mkdir(parents=True, exist_ok=True)
            (folder / old).rename(folder / new)

    return rename


def _food_of_2023(folder: Path) -> None:
    """`train`, `valid`, `test`, whose images count from 0."""
    _rename(("training", "train"), ("validation", "valid"))(folder)
    for number, path in enumerate(sorted((folder / "test").iterdir())):
        path.rename(folder / f"test/{number:04d}.jpg")


def _unpacked_corpus(folder: Path) -> None:
    packed = folder / "ted_zh_corpus.deduped.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()


RAW = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
EDITIONS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "regression 2023": (
        "regression",
        _rename(("covid.train.csv", "covid_train.csv"), ("covid.test.csv", "covid_test.csv")),
    ),
    "cnn 2023": ("cnn", _food_of_2023),
    "transformer notebook": (
        "transformer",
        _rename(
            ("raw.en", "ted2020/train_dev.raw.en"), ("raw.zh", "ted2020/train_dev.raw.zh"),
            ("test/test.en", "ted2020/test.raw.en"), ("test/test.zh", "ted2020/test.raw.zh"),
        ),
    ),
    "transformer 2021": ("transformer", _rename(("test/test.en", "test.en"), ("test/test.zh", "test.zh"))),
    "transformer unpacked": ("transformer", _unpacked_corpus),
    "anomaly 2021": ("anomaly", _rename(("data", "data-bin"))),
    "anomaly 2023": (
        "anomaly",
        _rename(("data/trainingset.npy", "trainingset.npy"), ("data/testingset.npy", "testingset.npy")),
    ),
    "lifelong notebook": ("lifelong", _rename(("MNIST", "mnist"), ("mnist/raw", "MNIST/MNIST/raw"))),
    "lifelong unpacked": (
        "lifelong",
        _rename(*((f"MNIST/raw/{name}", name.replace("-idx", ".idx")) for name in RAW)),
    ),
    "meta omniglot": ("meta", _rename(("Omniglot/images_background", "images_background"))),
}  # fmt: skip


@pytest.mark.parametrize("edition", EDITIONS)
def test_other_editions_names_are_read(
    edition: str, store: Store, digests: Callable[[str], str], tmp_path: Path
) -> None:
    """The course's editions of 2021 and 2023, its notebooks and other sources name the same files differently."""
    lab, change = EDITIONS[edition]
    shutil.copytree(store.source(lab), tmp_path / "data", ignore=shutil.ignore_patterns("answers"))
    change(tmp_path / "data")
    packed = digest(lab, tmp_path / "data", tmp_path / "packed")
    assert packed == digests(lab) or edition == "cnn 2023"  # whose test images have other ids


SURVEY = ["cli", "ili", "wearing_mask", "shop", "felt_isolated", "tested_positive"]


@pytest.mark.parametrize(("states", "days"), [(40, 3), (34, 3)], ids=["2021", "2023"])
def test_survey_tables_of_other_editions_are_read(states: int, days: int, tmp_path: Path) -> None:
    """Other states, three days in place of five, other questions."""
    header = ["id", *(f"S{number}" for number in range(states)), *(SURVEY * days)]
    for name, columns in (("covid.train.csv", len(header)), ("covid.test.csv", len(header) - 1)):
        with (tmp_path / name).open("w", newline="") as file:
            rows = ([i, *np.eye(states)[i % states], *np.linspace(0, 9, len(SURVEY) * days)] for i in range(50))
            csv.writer(file).writerows([header[:columns], *(row[:columns] for row in rows)])
    assert digest("regression", tmp_path, tmp_path / "packed")


def test_empty_lines_at_the_end_of_a_table_are_none_of_its_rows(tmp_path: Path) -> None:
    """But an empty line between two rows is a fault of the second one's table."""
    (tmp_path / "a.csv").write_bytes(BOM + b"id,class\r\n\r\n0,1\r\n\r\n\r\n")
    assert list(csv_rows(tmp_path / "a.csv")) == [["id", "class"], [], ["0", "1"]]


def test_a_submission_of_2023_counts_its_pictures_from_0(tmp_path: Path) -> None:
    """Homework 3: the ids are the test images' names, in either edition."""
    for first in (0, 1):
        (tmp_path / "s.csv").write_bytes(BOM + f"Id,Category\r\n{first:04d},3\r\n{first + 1:04d},10\r\n\r\n".encode())
        assert labs.get("cnn").check_submission(tmp_path / "s.csv") == []


def test_what_macos_adds_to_an_archive_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        for name in ("./.DS_Store", "./._1.jpg", "__MACOSX/1.jpg", "./1.jpg"):
            tar.addfile(tarfile.TarInfo(name))
    assert list(read_archive(tmp_path / "a.tgz", 10**6)) == ["1.jpg"]
