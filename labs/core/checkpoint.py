"""Atomic checkpoints: a folder appears whole or not at all, the newest readable one counts."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from labs.core.errors import BadInput, cut

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
    target = _path(folder, step)
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


def newest(folder: Path) -> int:
    """The step of the newest checkpoint that can be decoded; 0 where there is none.

    A checkpoint that can't be decoded is set aside as `broken-<step>` and the one before it is tried. Only one process
    may call this at a time.

    Raises:
        OSError: the storage failed; nothing is changed, since the checkpoint itself may be whole.
    """
    for path in _newest_first(folder):
        try:
            _decode(path)
        except (OSError, MemoryError) as error:
            if not isinstance(error, FileNotFoundError):  # a checkpoint that lacks a file is a broken one
                raise
        except Exception:  # torch, zip, safetensors and JSON each have errors of their own for a broken file
            pass
        else:
            return _step(path)
        aside = path.with_name(f"broken-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(path, aside)
        print(f"checkpoint {path} can't be decoded and was set aside as {aside.name}; trying the one before it")
    return 0


def restore(folder: Path, step: int, state: State) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Load checkpoint `step`, which `newest` has found, into `state`.

    Returns:
        What `save` got as `meta` (with `step`) and as `kept`.

    Raises:
        BadInput: the checkpoint holds the state of something else than `state`.
    """
    path = _path(folder, step)
    tensors, kept, meta = _decode(path)
    try:
        for name, part in state.items():
            if name == "progress":
                part.clear()
                part.update(meta["progress"])
            else:
                part.load_state_dict(tensors[name])
    except (MemoryError, torch.OutOfMemoryError):  # the checkpoint is right
        raise
    except Exception as error:  # networks, optimizers and labs' own objects each raise errors of their own
        raise BadInput(f"checkpoint {path} does not fit what is trained here: {cut(str(error))}; to train anew, remove "
                       f"the folder {folder}") from error  # fmt: skip
    return meta, kept


def _decode(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, Any]]:
    tensors = torch.load(path / "state.pt", weights_only=True, map_location="cpu")
    kept = load_file(path / "kept.safetensors")
    meta: dict[str, Any] = json.loads((path / "meta.json").read_text())
    if meta["step"] != _step(path):
        raise ValueError(f"{path} is the checkpoint of another step")
    return tensors, kept, meta


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}"


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
