"""Promises of the transformer lab's second source of data: message catalogues of installed packages."""

import struct
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from labs.core.errors import BadInput
from labs.transformer import catalogues, data

Install = Callable[[dict[str, bytes]], None]


def catalogue(messages: dict[str, str]) -> bytes:
    """A `.mo` file: header, tables of lengths and offsets for each language, the texts (GNU gettext manual, 10.3)."""
    messages = {"": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=1; plural=0;\n", **messages}
    sides = [[text.encode() for text in sorted(messages)], [messages[text].encode() for text in sorted(messages)]]
    tables, texts, place = b"", b"", 28 + 16 * len(messages)
    for side in sides:
        for text in side:
            tables += struct.pack("<2I", len(text), place + len(texts))
            texts += text + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(messages), 28, 28 + 8 * len(messages), 0, place) + tables + texts


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that installs a package with these files, by name -> content, as the only package that is found."""
    monkeypatch.setattr(catalogues, "distributions", lambda: metadata.distributions(path=[str(tmp_path / "site")]))

    def put(files: dict[str, bytes]) -> None:
        info = tmp_path / "site/phrasebook-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: phrasebook\nVersion: 1.0\n")
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
        for name, content in files.items():
            file = tmp_path / "site" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    return put


NUMBERED = {f"page {n}": f"第{n}頁" for n in range(98)}


def test_messages_are_pairs_in_traditional_chinese(install: Install) -> None:
    """Contexts and further plural forms are removed, lines joined; other languages, untranslated messages left out."""
    special = {
        "month\x04May": "五月",
        "%d day\0%d days": "%d 天",
        "Save it?\nYes": "儲存嗎？\n是",
        "OK": "OK",
    }
    install(
        {
            "phrasebook/locale/zh_Hant/LC_MESSAGES/a.mo": catalogue(NUMBERED | special),
            "phrasebook/locale/zh_Hans/LC_MESSAGES/a.mo": catalogue({"simplified": "简体"}),
            "phrasebook/locale/ja/LC_MESSAGES/a.mo": catalogue({"japanese": "日本"}),
        }
    )
    found = dict(catalogues.messages())
    assert {name: found[name] for name in found if name not in NUMBERED} == {
        "May": "五月",
        "%d day": "%d 天",
        "Save it? Yes": "儲存嗎？ 是",
    }
    assert NUMBERED.items() <= found.items()


def test_the_catalogues_can_be_trained_on(install: Install, tmp_path: Path) -> None:
    """The folder has the course's format, no message is in two splits, and another seed gives other splits."""
    install({"phrasebook/zh_TW/LC_MESSAGES/a.mo": catalogue(NUMBERED | {"yes": "是", "no": "否"})})
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        folder.mkdir()
        data.SOURCES["catalogues"](folder, seed)
    assert data.check(folders[0]) == []
    test, same, other = ((folder / data.TEST["en"]).read_text().splitlines() for folder in folders)
    train = (folders[0] / data.RAW["en"]).read_text().splitlines()
    assert (len(test), len(train)) == (10, 70)
    assert test == same != other
    assert not set(test) & set(train)


def test_too_few_messages_name_a_package_that_has_them(install: Install) -> None:
    """The message has the number found, the number expected, and what to install."""
    install({"phrasebook/zh_TW/LC_MESSAGES/a.mo": catalogue({"yes": "是"})})
    with pytest.raises(
        BadInput, match=r"have 1 messages .* expected at least 100: `pip install django` adds about 800$"
    ):
        catalogues.messages()
