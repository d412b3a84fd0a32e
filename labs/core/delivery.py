"""What a run has delivered: the files of its folder `deliver/`, and whether they are still there as they were written.

`delivered.json`, beside that folder, has the SHA-256 digest of each file. It is written last, so that a delivery that
was interrupted has none.
"""

import json
from hashlib import file_digest
from pathlib import Path

from labs.core import events

FOLDER, DIGESTS = "deliver", "delivered.json"


def seal(folder: Path) -> None:
    """Record what a run's folder holds as delivered."""
    events.write_text(folder / DIGESTS, json.dumps(_digests(folder / FOLDER), indent=1))


def fault(folder: Path) -> str | None:
    """Why a run's delivered files can't be taken as they are, as the end of a sentence; None where they are whole."""
    if not (folder / DIGESTS).exists():
        return "it has not delivered yet"
    sealed, found = json.loads((folder / DIGESTS).read_text()), _digests(folder / FOLDER)
    for name, digest in sealed.items():
        if found.get(name) != digest:
            return f"its deliver/{name} {'has changed' if name in found else 'is missing'}"
    return None


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return file_digest(handle, "sha256").hexdigest()
