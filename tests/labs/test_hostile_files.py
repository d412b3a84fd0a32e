"""Small files that would fill the memory, lead the reader in circles or run code are named in a sentence."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from labs.core.archives import read_archive
from labs.core.errors import BadInput, shown
from labs.core.pictures import open_picture
from labs.core.tensor_file import read_tensor
from labs.core.text_file import csv_rows, read_json
from labs.core.weights_file import read_weights
from labs.rl import action_list

LIMIT = 20_000_000


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for entry, content in members:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def header_with_size(size: int) -> bytes:
    """A tar file whose second member states this size, in the form of large numbers."""
    raw = bytearray(tarfile.TarInfo("1.jpg").tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (0xFF if size < 0 else 0x80).to_bytes(1, "big") + size.to_bytes(11, "big", signed=True)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return gzip.compress(tarfile.TarInfo("0.jpg").tobuf() + bytes(raw) + bytes(1024))


def extended_header(size: int) -> bytes:
    """A tar file with one header of another member that is itself so large."""
    entry = tarfile.TarInfo("././@PaxHeader")
    entry.type, entry.size = tarfile.XHDTYPE, size
    return gzip.compress(entry.tobuf(tarfile.USTAR_FORMAT) + bytes(size))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_of((tarfile.TarInfo("1.jpg"), bytes(LIMIT + 1))), "more than 20000000 bytes"),
        (header_with_size(10**12), "own.tgz"),
        (header_with_size(-512), "own.tgz"),
        (header_with_size(-1024), "own.tgz"),
        (extended_header(10 * LIMIT), "more than 20000000 bytes"),
        (gzip.compress(b"text"), "not a whole gzipped tar file"),
        (gzip.compress(b""), "not a whole gzipped tar file"),
        (b"", "not a whole gzipped tar file"),
    ],
    ids=["bomb", "size", "backwards", "in place", "header", "text", "nothing packed", "nothing"],
)
@pytest.mark.timeout(20)
def test_a_hostile_archive_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    """A member with a negative size led `tarfile` back to itself, for ever."""
    file = tmp_path / "own.tgz"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_archive(file, LIMIT)


def test_paths_and_links_of_an_archive_lead_nowhere(tmp_path: Path) -> None:
    """Files are read into memory under their names; links are left out."""
    link = tarfile.TarInfo("2.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    file = tmp_path / "own.tgz"
    file.write_bytes(tar_of((tarfile.TarInfo("../../1.jpg"), b"one"), (link, b"")))
    assert read_archive(file, LIMIT) == {"../../1.jpg": b"one"}
    assert [path.name for path in tmp_path.rglob("*")] == ["own.tgz"]


def png(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that states this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 100_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_that_states_a_huge_size_is_not_decoded(side: int) -> None:
    with pytest.raises(BadInput, match="expected"), open_picture(png(side, side), "PNG") as picture:
        picture.load()


def packed(path: Path) -> None:
    """What `torch.save` wrote, compressed: a gigabyte of zeros in a megabyte."""
    plain = path.with_suffix(".plain")
    torch.save(torch.zeros(30_000_000), plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))


TENSORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "compressed": (packed, "unpacks to"),
    "one value for many": (lambda path: torch.save(torch.zeros(1).expand(10**12), path), "expected all values"),
    "sparse": (lambda path: torch.save(torch.eye(3).to_sparse(), path), "expected a plain tensor"),
    "without values": (lambda path: torch.save(torch.empty(10**9, device="meta"), path), "expected a"),
    "a dictionary": (lambda path: torch.save({"a": torch.eye(3)}, path), "expected a tensor, found a dict"),
    "a folder": (Path.mkdir, "torch can't read"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_a_hostile_tensor_is_named(kind: str, tmp_path: Path) -> None:
    write, message = TENSORS[kind]
    write(tmp_path / "a.pt")
    with pytest.raises(BadInput, match=message):
        read_tensor(tmp_path / "a.pt")


def test_a_tensor_that_was_trained_is_read(tmp_path: Path) -> None:
    """A tensor that asks for a gradient is no fault of a data file."""
    torch.save(torch.nn.Parameter(torch.eye(3)), tmp_path / "a.pt")
    assert read_tensor(tmp_path / "a.pt").numpy().sum() == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5000 + "]", "found a fault"),
        ('["\\ud800"]', "found a fault"),
        ("\u00e9", "found a fault"),
    ],
    ids=["nested", "long number", "half a character", "other encoding"],
)
def test_hostile_json_is_named(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(BadInput, match=message):
        read_json(file)


@pytest.mark.parametrize("content", [b'id,"' + b"a" * 200_000, b"id,\xe9\n"], ids=["long cell", "other encoding"])
def test_a_hostile_table_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.csv"):
        list(csv_rows(file))


DOUBLED = b")" + 60 * b"2\x86"
"""Operations of a pickle: an empty tuple, then sixty times the tuple of two of what there is."""
HOSTILE = {
    "key": b"\x80\x02}" + DOUBLED + b"K\x01s.",
    "pairs": b"\x80\x02ccollections\nOrderedDict\n](" + DOUBLED + b"K\x01\x86e\x85R.",
    "number": b"\x80\x02]r\xff\xff\xff\x7f.",
    "memory": b"\x80\x02}X\x01\x00\x00\x00acbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85Rs.",
}
"""Pickles without any code that take 2^60 steps to hash a key, or gigabytes of memory."""


def zipped(pickled: bytes) -> bytes:
    """As `torch.save` writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (("a/data.pkl", pickled), ("a/version", b"3\n"), ("a/byteorder", b"little")):
            archive.writestr(name, content)
    return file.getvalue()


def numpy_file(pickled: bytes) -> bytes:
    """As `numpy.save` writes an array of five objects."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (5,)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + pickled


@pytest.mark.parametrize("pickled", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    ("read", "packed"),
    [(read_tensor, zipped), (read_weights, zipped), (action_list.read, numpy_file)],
    ids=["tensor", "weights", "actions"],
)
@pytest.mark.timeout(20)
def test_a_pickle_that_would_never_end_is_named(
    read: Callable[[Path], object], packed: Callable[[bytes], bytes], pickled: bytes, tmp_path: Path
) -> None:
    """A file of less than a kilobyte kept `--check` busy for ever, and no signal ended it."""
    file = tmp_path / "own.pt"
    file.write_bytes(packed(pickled))
    with pytest.raises(BadInput, match="expected tensors or lists"):
        read(file)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_tensor, read_weights])
def test_a_pickle_before_a_zip_file_is_looked_at(read: Callable[[Path], object], tmp_path: Path) -> None:
    """A zip file is known by its end, and PyTorch reads by the beginning."""
    file = tmp_path / "own.pt"
    file.write_bytes(HOSTILE["key"] + zipped(b"\x80\x02}."))
    with pytest.raises(BadInput, match="expected tensors or lists"):
        read(file)


@pytest.mark.timeout(20)
def test_a_list_without_an_end_is_shown_in_a_line() -> None:
    """Lists within lists, each twice: their text has 2^60 characters."""
    deep: list[object] = []
    for _ in range(60):
        deep = [deep, deep]
    assert len(shown(deep)) < 200
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 200
    assert shown([1, "a", (2.5, None)]) == "[1, 'a', (2.5, None)]"
