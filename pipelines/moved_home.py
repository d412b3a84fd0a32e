"""A home folder that was copied or moved: its records name the folders of the place where it was before.

Nothing may be read or written there: it may be the original, in use. A record says in its tags which folder it is the
record of, so that it is recognised wherever it is found. `tracking/moved_store.py` does the same for the home's store.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = "labs.folder"
"""Tag with the folder that a record belongs to, as it was when the record was last written."""


def of_this_home(record: dict[str, Any], text: str, folder: Path) -> dict[str, Any]:
    """A record whose folders are those of the home that it is in.

    Args:
        record: the record as it was written.
        text: the same, as JSON.
        folder: where it was found.
    """
    noted = record["tags"].get(FOLDER, "")
    if noted in ("", str(folder)):
        return record
    depth, before, here = 4 if folder.parent.name == "trials" else 2, Path(noted), folder.resolve()
    if before == here or before.parts[-depth:] != here.parts[-depth:]:  # a run's folder alone may be copied anywhere
        return record
    old, new = (json.dumps(f"{path.parents[depth - 1]}/")[:-1] for path in (before, here))
    moved: dict[str, Any] = json.loads(text.replace(old, new))
    return moved
