"""Lists a data folder without what operating systems put there."""

from pathlib import Path

SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}


def visible(folder: Path) -> list[Path]:
    """Files and folders in a folder, in the order of their names; hidden and operating systems' ones are left out."""
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted((path for path in paths if path.name.lower() not in SYSTEM_FILES), key=lambda path: path.name)
