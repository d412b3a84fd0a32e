"""What other systems write into a folder or a file is no fault: a byte-order mark, upper-case endings, hidden files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import labs
from tests.conftest import Said
from tests.labs.folders import made


def test_a_table_with_a_byte_order_mark_is_read(labs_cli: Callable[..., Said], tmp_path: Path) -> None:
    source = made(labs.get("regression").data, tmp_path / "data")
    table = source / "covid.train.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert labs_cli("data", "regression", "--check", source).code == 0


def test_an_archives_top_folder_and_system_files_are_no_fault(labs_cli: Callable[..., Said], tmp_path: Path) -> None:
    """`food11/` inside the folder that is named, an upper-case ending, Windows' and macOS' own files."""
    source = made(labs.get("cnn").data, tmp_path / "w")
    (source / "training/3_0.jpg").rename(source / "training/3_0.JPG")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (source / "training" / name).write_bytes(b"\0")
    inside = tmp_path / "outer/food11"
    inside.parent.mkdir()
    shutil.move(source, inside)
    (inside.parent / "__MACOSX").mkdir()
    for folder in (inside, inside.parent):
        assert labs_cli("data", "cnn", "--check", folder).code == 0
    trained = labs_cli("train", "cnn", "--size", "tiny", "--workers", "0", "--set", "epochs=1", "--data", inside.parent)
    assert trained.code == 0, trained.err


def test_a_table_in_another_encoding_is_one_sentence(labs_cli: Callable[..., Said], tmp_path: Path) -> None:
    source = made(labs.get("regression").data, tmp_path / "data")
    table = source / "covid.train.csv"
    table.write_text(table.read_text(), encoding="utf-16")
    said = labs_cli("data", "regression", "--check", source)
    assert (said.code, "Traceback" in said.err, "UTF-8" in said.err) == (2, False, True)


def test_a_submission_may_begin_with_a_byte_order_mark_but_not_be_utf_16(
    labs_cli: Callable[..., Said], tmp_path: Path
) -> None:
    file = tmp_path / "p.csv"
    file.write_bytes(b"\xef\xbb\xbfid,tested_positive\n0,8.28\n")
    assert labs_cli("deliver", "regression", "--check", file).code == 0
    file.write_text("id,tested_positive\n0,8.28\n", encoding="utf-16")
    said = labs_cli("deliver", "regression", "--check", file)
    assert (said.code, "Traceback" in said.err, "UTF-8" in said.err) == (2, False, True)
