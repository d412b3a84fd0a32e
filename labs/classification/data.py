"""Framewise phonemes: the folder format of homework 2 (`libriphone/`), its checks, and synthetic data in that format.

`train_split.txt` and `test_split.txt` have one utterance id per line, in the form speaker-chapter-index.
`feat/train/<id>.pt` and `feat/test/<id>.pt` each hold a float32 tensor (frames, 39) of MFCC. `train_labels.txt` has a
line `<id> <class> <class> ...` for each training utterance, with one class per frame. A folder may be `libriphone/`
itself or the folder above it.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labs.classification import generate
from labs.core import shards
from labs.core.errors import BadInput, shown
from labs.core.listing import find, required
from labs.core.tensor_file import read_tensor

ROOT, LABELS, ANSWERS = "libriphone", "train_labels.txt", "answers/test_labels.txt"
SPLITS = ("train", "test")
ID = r"[^\s./\\\x00][^\s/\\\x00]*"
"""Regular expression of an utterance's id, the name of a file but no path; the course's are speaker-chapter-index."""
FEATURES = 39
"""MFCC of a frame: 13 coefficients with their first and second differences."""
NUM_CLASSES = 41
COUNTS = {
    "tiny": {"train": 30, "test": 10},
    "small": {"train": 300, "test": 100},
    "course": {"train": 4286, "test": 1078},
}
"""Size -> number of training and of test utterances."""
SPEAKERS = {"tiny": 5, "small": 40, "course": 250}
"""Size -> number of synthetic speakers."""
RECORD = 1 << 16
"""Frames after which packing starts a new record batch, which bounds memory: 10 MB."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write synthetic utterances in the course's format; the labels of the test set go to `answers/`.

    Each utterance has its own random generator, seeded with seed, split and number. As in the course, training and test
    utterances have the same speakers.
    """
    root = folder / ROOT
    speaker_rng = random.Random(f"{seed} speakers")
    speakers = [generate.random_speaker(speaker_rng) for _ in range(SPEAKERS[size])]
    (folder / ANSWERS).parent.mkdir(parents=True, exist_ok=True)
    for split, count in zip(SPLITS, COUNTS[size].values(), strict=True):
        (root / "feat" / split).mkdir(parents=True, exist_ok=True)
        ids = []
        with (root / LABELS if split == "train" else folder / ANSWERS).open("w") as file:
            for number in range(count):
                rng = random.Random(f"{seed} {split} {number}")
                speaker = rng.randrange(len(speakers))
                chapter = 120000 + 2 * speaker + (split == "test")
                ids.append(f"{1000 + speaker}-{chapter}-{number:04d}")
                features, labels = generate.utterance(rng, speakers[speaker])
                torch.save(torch.from_numpy(features), root / "feat" / split / f"{ids[-1]}.pt")
                file.write(f"{ids[-1]} {' '.join(map(str, labels))}\n")
        (root / f"{split}_split.txt").write_text("\n".join(ids))


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if the folder is valid.

    Reads every utterance, one at a time.
    """
    root = _root(folder)
    needed = [*(f"{split}_split.txt" for split in SPLITS), LABELS, *(f"feat/{split}" for split in SPLITS)]
    faults = [f"{root / name} is missing" for name in needed if not find(root, name)]
    faults = faults or [fault for split in SPLITS for fault in _check_ids(root, split)]
    if faults:
        return faults
    lines, faults = _label_lines(root)
    for split in SPLITS:
        for number, name in enumerate(_ids(root, split), 1):
            path = find(root, f"feat/{split}/{name}.pt")
            if path is None:
                faults.append(f"feat/{split}/{name}.pt is missing, but {split}_split.txt line {number} lists it")
                continue
            try:
                frames = len(_features(path))
            except BadInput as error:
                faults.append(f"feat/{split}/{name}.pt: {error}")
                continue
            if split == "train" and (fault := _check_labels(root, lines, name, frames)):
                faults.append(f"{LABELS}{fault}")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the frames of all utterances one after another, in the order of the split files.

    Splits `train` and `test` have one row per frame: `frame`, float32 (39,), and in `train` also `label`, int64.
    `train_utterances` and `test_utterances` have one row per utterance: `length`, its number of frames, int64.
    """
    root = _root(folder)
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split in SPLITS:
        lengths: list[int] = []
        splits[split] = _batches(root, split, lengths)
        splits[f"{split}_utterances"] = _lengths(lengths)
    return shards.pack(out, splits, origin=origin)


def answers(folder: Path) -> list[str]:
    """Labels of all test frames, in the order of the submission."""
    return [label for line in (folder / ANSWERS).read_text().splitlines() for label in line.split()[1:]]


def _root(folder: Path) -> Path:
    return find(folder, ROOT) or folder


def _ids(root: Path, split: str) -> list[str]:
    text = required(root, f"{split}_split.txt").read_text(encoding="utf-8-sig")
    return [line.strip() for line in text.rstrip().splitlines()]


def _label_lines(root: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Utterance id -> number and byte offset of its line in `train_labels.txt`; and the faults found while reading."""
    lines: dict[str, tuple[int, int]] = {}
    faults, offset = [], 0
    with required(root, LABELS).open("rb") as file:
        for number, line in enumerate(file, 1):
            name = line.split(b" ", 1)[0].decode(errors="replace").strip().removeprefix("\ufeff")
            if name in lines:
                faults.append(f"{LABELS} line {number}: {name} occurs twice, first on line {lines[name][0]}")
            lines[name] = (number, offset)
            offset += len(line)
    return lines, faults


def _labels(root: Path, offset: int) -> list[str]:
    """The labels, as text, of the utterance whose line starts at this byte offset."""
    with required(root, LABELS).open("rb") as file:
        file.seek(offset)
        return file.readline().decode(errors="replace").split()[1:]


def _check_ids(root: Path, split: str) -> list[str]:
    file, faults, seen = f"{split}_split.txt", list[str](), dict[str, int]()
    for number, name in enumerate(_ids(root, split), 1):
        if not re.fullmatch(ID, name):
            faults.append(f"{file} line {number}: expected an utterance's id, the name of its file in feat/{split}/, "
                          f"found {shown(name)}")  # fmt: skip
        elif name in seen:
            faults.append(f"{file} line {number}: {name} occurs twice, first on line {seen[name]}")
        seen.setdefault(name, number)
    return faults if seen else [f"{file} is empty: expected one utterance id per line"]


def _features(path: Path) -> torch.Tensor:
    """(frames, 39) float32; `BadInput`, the end of a sentence, if the file holds anything else."""
    features = read_tensor(path)
    if features.ndim != 2 or features.shape[1] != FEATURES or not len(features):
        raise BadInput(f"expected the shape (frames, {FEATURES}), found {tuple(features.shape)}")
    if features.dtype != torch.float32:
        raise BadInput(f"expected float32, found {str(features.dtype).removeprefix('torch.')}")
    if not features.isfinite().all():
        frame = int((~features.isfinite()).any(1).nonzero()[0])
        found = features[frame][~features[frame].isfinite()][0]
        raise BadInput(f"expected finite numbers, found {found:g} in frame {frame}")
    return features


def _check_labels(root: Path, lines: dict[str, tuple[int, int]], name: str, frames: int) -> str | None:
    if name not in lines:
        return f": no line for {name}, which train_split.txt lists"
    number, offset = lines[name]
    labels, valid = _labels(root, offset), {str(label) for label in range(NUM_CLASSES)}
    if len(labels) != frames:
        return (
            f" line {number}: found {len(labels)} labels, expected {frames}, as many as feat/train/{name}.pt has frames"
        )
    invalid = next((frame for frame, label in enumerate(labels) if label not in valid), None)
    if invalid is not None:
        return f" line {number}: found label {labels[invalid]!r} at frame {invalid}, expected 0 to {NUM_CLASSES - 1}"
    return None


def _batches(root: Path, split: str, lengths: list[int]) -> Iterator[shards.Batch]:
    """Record batches of many utterances; each utterance's number of frames is appended to `lengths`."""
    lines = _label_lines(root)[0] if split == "train" else {}
    frames: list[np.ndarray] = []
    labels: list[int] = []
    for name in _ids(root, split):
        frames.append(_features(required(root, f"feat/{split}/{name}.pt")).numpy())
        lengths.append(len(frames[-1]))
        if split == "train":
            labels += map(int, _labels(root, lines[name][1]))
        if sum(map(len, frames)) >= RECORD:
            yield _batch(frames, labels)
            frames, labels = [], []
    if frames:
        yield _batch(frames, labels)


def _batch(frames: list[np.ndarray], labels: list[int]) -> shards.Batch:
    batch = {"frame": np.concatenate(frames)}
    return {**batch, "label": np.array(labels, np.int64)} if labels else batch


def _lengths(lengths: list[int]) -> Iterator[shards.Batch]:
    """The lengths. They are complete when this is iterated, since `shards.pack` writes the splits in order."""
    yield {"length": np.array(lengths, np.int64)}
