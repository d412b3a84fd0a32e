"""What other systems write into a folder or a file is no fault: a byte-order mark, upper-case endings, hidden files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_speakers_have_any_names(labs_cli: Callable[..., Said], tmp_path: Path) -> None:
    """Names mean nothing: `id10001` is the course's; a folder may have people's, with commas, quotes and spaces."""
    source = made(labs.get("self-attention").data, tmp_path / "data")
    names = json.loads((source / "mapping.json").read_text())["id2speaker"].values()
    for document in ("mapping.json", "metadata.json"):
        text = (source / document).read_text()
        for name in names:
            text = text.replace(name, f'王 {name}, \\"Jr.\\"')
        (source / document).write_text(text, encoding="utf-8-sig")
    said = labs_cli("train", "self-attention", "--size", "tiny", "--workers", "0", "--set", "epochs=1", "--data",
                    source, "--json")  # fmt: skip
    assert said.code == 0, said.err
    labs_cli("deliver", "self-attention", "--run", said.json["run_id"], "--out", tmp_path / "out")
    assert labs_cli("deliver", "self-attention", "--check", tmp_path / "out/output.csv").code == 0
    assert "王" in (tmp_path / "out/output.csv").read_text(encoding="utf-8")


def test_only_back_translation_asks_for_the_monolingual_corpus(labs_cli: Callable[..., Said], tmp_path: Path) -> None:
    """Three presets never read it; the fourth names the file and what needs it before it trains."""
    source = made(labs.get("transformer").data, tmp_path / "data")
    (source / "ted_zh_corpus.deduped.gz").unlink()
    train = ("train", "transformer", "--size", "tiny", "--workers", "0", "--data", source, "--preset")
    assert labs_cli(*train, "simple", "--set", "epochs=1").code == 0
    said = labs_cli(*train, "boss")
    assert (said.code, "Traceback" in said.err) == (2, False)
    assert "ted_zh_corpus.deduped.gz is missing in the data: back-translation" in said.err
    assert "preset boss" in said.err


@pytest.mark.parametrize("lab", ["adaptation", "attack", "gan", "meta", "explain"])
def test_upper_case_endings_are_no_fault(lab: str, tmp_path: Path) -> None:
    """Of all the pictures of a lab."""
    data = labs.get(lab).data
    source = made(data, tmp_path / "data")
    for path in [path for path in source.rglob("*") if path.suffix in (".bmp", ".png", ".jpg")]:
        if "masks" not in path.parent.name:  # a mask is found by the name of its image
            path.rename(path.with_suffix(path.suffix.upper()))
    assert data.check(source) == []
    (tmp_path / "out").mkdir()
    data.prepare(source, tmp_path / "out", "folder")
