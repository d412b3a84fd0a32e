"""Mutations of a user's files and texts, and how many of them a test tries."""

import io
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

MORE = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "faults" else 1
"""With the profile `faults` (`make faults`) many more mutations are tried, and others each time."""


def fuzz(examples: int) -> settings:
    """Settings of a test that tries so many examples, always the same, in the suite."""
    return settings(
        max_examples=examples * MORE,
        derandomize=MORE == 1,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


class Code:
    """What runs code when it is unpickled: it makes the file whose path it was given."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def pickles(marker: Path) -> list[bytes]:
    """A pickle with code, as it is, as PyTorch's and as NumPy's files hold one."""
    files = [io.BytesIO() for _ in range(3)]
    torch.save(Code(marker), files[0])
    torch.save(Code(marker), files[1], _use_new_zipfile_serialization=False)
    np.save(files[2], np.array([Code(marker)], object), allow_pickle=True)
    return [pickle.dumps(Code(marker)), *(file.getvalue() for file in files)]


TOKENS = (
    *(b"", b"\0", b"\n", b"\r", b",", b'"', b"'", b"{", b"]", b": ", b" ", b"-1", b"0", b"1.5", b"1e999", b"nan"),
    *(b"null", b"true", b"9" * 20, b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000, b"a" * 200_000),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xe9", b"\\ud800", b"../../x", b"/etc/passwd", "😀".encode(), "１".encode()),
    *(b"\xff" * 8, b"\x7f\xff\xff\xff", b"!!python/object/apply:os.system [true]", b"&a [*a]", b"<<: {b: 1}"),
)
"""What is put into a file: half of a syntax, huge numbers, nesting, other encodings, paths, tags."""


@dataclass(frozen=True)
class Change:
    """One change of a file's bytes."""

    kind: str
    place: float
    """Where in the file, from 0 to 1."""
    token: bytes

    def __repr__(self) -> str:
        return f"Change({self.kind!r}, {self.place!r}, {self.token[:40]!r}... of {len(self.token)} bytes)"

    def of(self, content: bytes) -> bytes:
        """The content, changed."""
        at = int(self.place * len(content))
        if self.kind == "truncate":
            return content[:at]
        if self.kind == "insert":
            return content[:at] + self.token + content[at:]
        if self.kind == "overwrite":
            return content[:at] + self.token + content[at + len(self.token) :]
        if self.kind == "replace":
            return self.token
        if self.kind == "value":  # a number or a word between other characters
            values = list(re.finditer(rb"[\w.+-]+", content))
            if not values:
                return self.token
            value = values[int(self.place * len(values))]
            return content[: value.start()] + self.token + content[value.end() :]
        if self.kind == "repeat":
            return content[:at] + content[at : at + 50] * 3 + content[at + 50 :]
        encoding = "utf-16" if self.place < 0.5 else "latin-1"
        return content.decode(errors="replace").encode(encoding, errors="replace")


CHANGES = st.builds(
    Change,
    st.sampled_from(["truncate", "insert", "overwrite", "replace", "value", "value", "repeat", "encode"]),
    st.floats(0, 1, exclude_max=True),
    st.one_of(st.sampled_from(TOKENS), st.binary(max_size=16)),
)


@dataclass(frozen=True)
class Mutation:
    """What happens to a folder of data: a file is changed, removed, swapped, replaced."""

    kind: str
    file: float
    """Which file, from 0 to 1; files of a kind together count as one, so that a table is met as often as pictures."""
    other: float
    change: Change

    def apply(self, folder: Path, marker: Path) -> None:
        """Change the folder, whose files may be hard links to those of others."""
        path = self._choose(folder, self.file)
        content = path.read_bytes()
        path.unlink()
        actions: dict[str, Callable[[], object]] = {
            "change": lambda: path.write_bytes(self.change.of(content)),
            "delete": lambda: None,
            "folder": path.mkdir,
            "lines": lambda: path.write_bytes(content + b"\n" + content[-200:]),
            "pickle": lambda: path.write_bytes(pickles(marker)[int(4 * self.other)]),
            "link to itself": lambda: path.symlink_to(path.name),
            "link out": lambda: path.symlink_to("/etc/hostname"),
            "other file": lambda: shutil.copyfile(self._choose(folder, self.other), path),
            "stray": lambda: [path.write_bytes(content), path.with_name("extra" + path.suffix).write_bytes(content)],
        }
        actions[self.kind]()

    @staticmethod
    def _choose(folder: Path, which: float) -> Path:
        groups: dict[tuple[Path, str], list[Path]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and "answers" not in path.parts):
            many = path.suffix in (".jpg", ".png", ".bmp", ".pt")
            groups.setdefault((path.parent if not many else folder, path.suffix if many else path.name), []).append(
                path
            )
        group = list(groups.values())[int(which * len(groups))]
        return group[int(which * len(groups) * len(group)) % len(group)]


_PLACES = st.floats(0, 1, exclude_max=True)
MUTATIONS = st.builds(
    Mutation,
    st.sampled_from(
        ["change"] * 8 + ["delete", "folder", "lines", "pickle", "link to itself", "link out", "other file", "stray"]
    ),
    _PLACES,
    _PLACES,
    CHANGES,
)
