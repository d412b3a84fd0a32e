"""The events of a run: one JSON object a line, appended by rank 0, read by whoever shows or mirrors the run.

An event has `time` (Unix seconds), `step` (epochs done) and `metrics`. A run that goes back to a checkpoint first
drops the later events, so that a step stands in the file once, whatever happened.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "events.jsonl"


def append(folder: Path, event: dict[str, Any]) -> None:
    """Add one event to the folder's file, on a line of its own even after a half-written one."""
    with (folder / FILE).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
        torn = end and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + json.dumps(event).encode() + b"\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """All events, oldest first. Half-written lines (a killed process, a full disk, a power cut) are skipped, as is what
    is no event."""
    path = folder / FILE
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("metrics"), dict) and "step" in event:
                found.append(event)
    return found


def rewind(folder: Path, step: int) -> None:
    """Drop the events after `step`, and a half-written last line."""
    kept = [event for event in read(folder) if event["step"] <= step]
    write_text(folder / FILE, "".join(json.dumps(event) + "\n" for event in kept))


def write_text(path: Path, text: str) -> None:
    """Replace a file's text at once: a reader, or a crash, sees the old or the new text and nothing between."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)
