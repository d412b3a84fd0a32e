"""Atomic checkpoints: a folder appears whole or not at all, the newest readable one counts."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

KEEP = 2
"""Checkpoints kept: the newest, and the one before in case the newest can't be read."""

State = dict[str, Any]


def save(folder: Path, step: int, state: State, kept: dict[str, torch.Tensor], meta: dict[str, Any]) -> Path:
    """Write checkpoint `step` below `folder` and remove the ones that are no longer needed.

    Args:
        folder: the run's folder of checkpoints.
        step: epochs done.
        state: name -> object with `state_dict()`; the name `progress` holds JSON-able data instead.
        kept: the weights that the run would end with now (the best so far).
        meta: JSON-able facts to come back from `restore`.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints stay as they were.
    """
    target = folder / f"step-{step:06d}"
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    progress = state.get("progress")
    torch.save({name: part_.state_dict() for name, part_ in state.items() if name != "progress"}, part / "state.pt")
    save_file(kept, part / "kept.safetensors")
    (part / "meta.json").write_text(json.dumps({**meta, "step": step, "progress": progress}))
    for file in part.iterdir():
        _flush(file)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    for old in _newest_first(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def restore(folder: Path, state: State) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """Load the newest readable checkpoint into `state`; one that is broken is removed and the one before is taken.

    Returns:
        What `save` got as `meta` (with `step`) and as `kept`; None where there is no checkpoint.
    """
    for path in _newest_first(folder):
        try:
            tensors = torch.load(path / "state.pt", weights_only=True, map_location="cpu")
            kept = load_file(path / "kept.safetensors")
            meta = json.loads((path / "meta.json").read_text())
        except Exception as error:  # torch, zip, safetensors and JSON each have errors of their own for a broken file
            print(f"checkpoint {path} can't be read ({type(error).__name__}); going back to the one before")
            shutil.rmtree(path)
            continue
        for name, part in state.items():
            if name == "progress":
                part.clear()
                part.update(meta["progress"])
            else:
                part.load_state_dict(tensors[name])
        return meta, kept
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
