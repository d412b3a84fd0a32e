"""Finds the files of a user's data folder, whatever archive they came in and whichever system has written them.

What is found leniently is packaging: where an archive was unpacked, the case of an ending, what operating systems add.
"""

from collections.abc import Iterator
from pathlib import Path

SYSTEM_FILES = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
    *("__macosx", "icon\r", "@eadir", "lost+found"),  # macOS, network storage, Linux
}
"""Names, in lower case, of what operating systems put into a folder, beside hidden files."""
DEPTH = 3
"""Folders around the data that are looked into: that of an archive, and those that programs add when they unpack it."""


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is the user's own: neither hidden nor an operating system's."""
    return not name.startswith(".") and name.lower() not in SYSTEM_FILES


def visible(folder: Path) -> list[Path]:
    """Files and folders in a folder, in the order of their names; hidden and operating systems' ones are left out."""
    return sorted((path for path in folder.iterdir() if is_visible(path.name)), key=lambda path: path.name)


def roots(source: Path) -> Iterator[Path]:
    """Where the data can lie: in the folder itself, or in the only folder in it, as archives have a top folder.

    Files beside that folder, such as the archive, don't matter.
    """
    for _ in range(DEPTH + 1):
        if not source.is_dir():
            return
        yield source
        inside = _only_folder(source)
        if inside is None:
            return
        source = inside


def find(folder: Path, *names: str) -> Path | None:
    """The first of several files or folders that is there, None if none is.

    Args:
        folder: where the names start. It may itself be the first part of a name, as the top folder of an archive:
            `faces` is found in a folder `faces`.
        names: relative paths; an ending may be there in the other case.
    """
    for name in names:
        places = [folder / name]
        first, *rest = [*Path(name).parts, ""]
        if first == folder.resolve().name and (len(rest) > 1 or _only_folder(folder) is None):
            places.append(folder.resolve().joinpath(*rest))
        for path in places:
            for suffix in (path.suffix, path.suffix.lower(), path.suffix.upper()):
                if (found := path.with_suffix(suffix)).exists():
                    return found
    return None


def is_in(source: Path | None, name: str) -> bool:
    """Whether a file is in a user's data folder, or in one of those around the data; not where there is no folder."""
    return source is not None and any(find(root, name) for root in roots(source))


def required(folder: Path, *names: str) -> Path:
    """As `find`, of what a check has found to be there."""
    return find(folder, *names) or folder / names[0]


def _only_folder(folder: Path) -> Path | None:
    """The folder in a folder, whatever files are beside it; None where there is none or another one."""
    folders = [path for path in visible(folder) if path.is_dir()]
    return folders[0] if len(folders) == 1 else None
