"""Utterances of known speakers: the `Dataset` folder of homework 4, its checks, and synthetic speakers in that format.

`mapping.json` numbers the speakers, `metadata.json` lists each speaker's training utterances, and `testdata.json` lists
the test utterances. Each utterance is a log-mel spectrogram in a file, in the course `uttr-<32 hex digits>.pt`.
"""

import csv
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from labs.core import shards
from labs.core.errors import BadInput, sentences, shown
from labs.core.listing import find, required
from labs.core.tensor_file import read_tensor
from labs.core.text_file import csv_rows, read_json
from labs.self_attention import generate

MAPPING, METADATA, TESTDATA, ANSWERS = "mapping.json", "metadata.json", "testdata.json", "answers/testdata.csv"
FILE_NAME = r"^[^./\\\x00][^/\\\x00]*$"
"""Regular expression of a feature file's name, which is not a path; the course's are `uttr-<32 hex digits>.pt`."""
SUBMISSION_HEADER = ("Id", "Category")
MELS = 40
"""Mel bands of synthetic utterances, as many as the course's have."""
RECORD = 64
"""Utterances in a record batch, which bounds the memory that packing needs."""


class Counts(NamedTuple):
    """Size of the synthetic data."""

    speakers: int
    train: int
    """Number of training utterances of all speakers."""
    spread: int
    """Largest difference between a speaker's number of training utterances and the mean."""
    test: int
    """Number of test utterances of all speakers."""


COUNTS = {
    "tiny": Counts(6, 60, 2, 18),
    "small": Counts(60, 1200, 4, 420),
    "course": Counts(600, 56666, 14, 8000),
}
"""Size -> counts. Those of `course` are the course's own, whose speakers have 80 to 111 training utterances each."""


class Utterance(BaseModel):
    """An entry of `metadata.json` or `testdata.json`."""

    feature_path: Annotated[str, StringConstraints(pattern=FILE_NAME)]
    mel_len: Annotated[int, Field(ge=1)]


class Mapping(BaseModel):
    """`mapping.json`. A speaker may have any name."""

    speaker2id: dict[Annotated[str, StringConstraints(min_length=1)], int]
    id2speaker: dict[str, str]


class Metadata(BaseModel):
    """`metadata.json`."""

    n_mels: Annotated[int, Field(ge=1)]
    speakers: dict[str, list[Utterance]]


class TestData(BaseModel):
    """`testdata.json`."""

    n_mels: Annotated[int, Field(ge=1)]
    utterances: Annotated[list[Utterance], Field(min_length=1)]


DOCUMENTS: dict[str, type[BaseModel]] = {MAPPING: Mapping, METADATA: Metadata, TESTDATA: TestData}


def make(folder: Path, seed: int, size: str) -> None:
    """Write synthetic speakers in the course's format; the speakers of the test utterances go to `answers/`.

    Each speaker has its own random generator, seeded with the seed and the speaker's name.
    """
    counts = COUNTS[size]
    rng = random.Random(f"{seed} counts")
    names = [f"id{number:05d}" for number in sorted(rng.sample(range(10000), counts.speakers))]
    train_counts = _distribute(rng, counts.train, counts.speakers, counts.spread)
    test_counts = _distribute(rng, counts.test, counts.speakers, 0)
    speakers: dict[str, list[dict[str, Any]]] = {}
    test: list[tuple[dict[str, Any], str]] = []
    for name, train_count, test_count in zip(names, train_counts, test_counts, strict=True):
        spectra = generate.utterances(f"{seed} {name}", train_count + test_count, MELS)
        utterances = [_save(folder, frames) for frames in spectra]
        speakers[name] = utterances[:train_count]
        test += [(utterance, name) for utterance in utterances[train_count:]]
    test.sort(key=lambda pair: pair[0]["feature_path"])  # file names are hashes, so their order reveals no speaker
    _write(folder / MAPPING, {
        "speaker2id": {name: number for number, name in enumerate(names)},
        "id2speaker": {str(number): name for number, name in enumerate(names)},
    })  # fmt: skip
    _write(folder / METADATA, {"n_mels": MELS, "speakers": speakers})
    _write(folder / TESTDATA, {"n_mels": MELS, "utterances": [utterance for utterance, _ in test]})
    (folder / ANSWERS).parent.mkdir(exist_ok=True)
    with (folder / ANSWERS).open("w", newline="") as file:
        csv.writer(file).writerows([("Id", "Category"), *((entry["feature_path"], name) for entry, name in test)])


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if the folder is valid.

    Reads every feature file, one at a time.
    """
    faults = [fault for name in DOCUMENTS for fault in _check_document(folder, name)]
    if faults:
        return faults
    mapping, metadata, testdata = (_read(folder, name) for name in (MAPPING, METADATA, TESTDATA))
    faults = _check_speakers(mapping, metadata)
    if testdata.n_mels != metadata.n_mels:
        faults.append(f"{TESTDATA}: n_mels is {testdata.n_mels}, expected {metadata.n_mels} as in {METADATA}")
    listed = [utterance for entries in metadata.speakers.values() for utterance in entries]
    if len(listed) < 2:
        faults.append(
            f"{METADATA}: found {len(listed)} utterances, expected at least 2, one to train and one to validate"
        )
    paths = Counter(utterance.feature_path for utterance in [*listed, *testdata.utterances])
    faults += [f"{path}: listed {times} times in {METADATA} and {TESTDATA}, expected once"
               for path, times in paths.items() if times > 1]  # fmt: skip
    for source, entries in ((METADATA, listed), (TESTDATA, testdata.utterances)):
        for utterance in entries:
            faults += _check_features(folder, utterance, metadata.n_mels, source)
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the utterances of the splits `train` and `test`.

    `<split>_frames` has all frames one after another, float16 (mels,). `<split>` has one row per utterance: its first
    frame `start`, its `length` in frames and, in `train`, its `label`. Half precision rounds a log energy by at most
    0.008, far below the noise of a frame, and halves the memory. The facts are `speakers` (names by label), `mels` and
    `test_ids` (file names in the order of `testdata.json`).
    """
    mapping, metadata, testdata = (_read(folder, name) for name in (MAPPING, METADATA, TESTDATA))
    train = [
        (utterance, mapping.speaker2id[name]) for name, entries in metadata.speakers.items() for utterance in entries
    ]
    lists = {"train": [utterance for utterance, _ in train], "test": testdata.utterances}
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split, utterances in lists.items():
        lengths = np.array([utterance.mel_len for utterance in utterances], np.int64)
        table = {"start": np.cumsum(lengths) - lengths, "length": lengths}
        if split == "train":
            table["label"] = np.array([label for _, label in train], np.int64)
        splits |= {split: iter([table]), f"{split}_frames": _frames(folder, utterances)}
    facts = {
        "speakers": [mapping.id2speaker[str(label)] for label in range(len(mapping.id2speaker))],
        "mels": metadata.n_mels,
        "test_ids": [utterance.feature_path for utterance in testdata.utterances],
    }
    return shards.pack(out, splits, origin=origin, facts=facts)


def check_submission(file: Path) -> list[str]:
    """The first fault of a submission file as a sentence with its line; empty if there is none.

    The names of files and speakers differ between data sets, so each row must only have both, and no file twice.
    """
    rows = csv_rows(file)
    if tuple(next(rows, ())) != SUBMISSION_HEADER:
        return [f"{file.name} line 1: the header must be '{','.join(SUBMISSION_HEADER)}'"]
    seen: set[str] = set()
    for line, row in enumerate(rows, 2):
        if len(row) != 2 or not all(row):
            return [f"{file.name} line {line}: expected '<feature file>,<speaker>', found {shown(','.join(row))}"]
        if row[0] in seen:
            return [f"{file.name} line {line}: {row[0]} is on an earlier line as well"]
        seen.add(row[0])
    return [] if seen else [f"{file.name} has no predictions"]


def _distribute(rng: random.Random, total: int, speakers: int, spread: int) -> list[int]:
    """Number of utterances for each speaker: `total` together, each up to `spread` away from the mean."""
    counts = [total // speakers + (speaker < total % speakers) for speaker in range(speakers)]
    for speaker in range(0, speakers - 1, 2):
        moved = rng.randint(-spread, spread)
        counts[speaker] += moved
        counts[speaker + 1] -= moved
    return counts


def _save(folder: Path, frames: np.ndarray) -> dict[str, Any]:
    """Write an utterance to a file named after its hash; returns its entry for the JSON lists."""
    name = f"uttr-{hashlib.md5(frames.tobytes()).hexdigest()}.pt"
    torch.save(torch.from_numpy(frames), folder / name)
    return {"feature_path": name, "mel_len": len(frames)}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2))


def _read(folder: Path, name: str) -> Any:
    return DOCUMENTS[name].model_validate(read_json(required(folder, name)))


def _check_document(folder: Path, name: str) -> list[str]:
    if not find(folder, name):
        return [f"{folder / name} is missing"]
    try:
        _read(folder, name)
    except ValidationError as error:
        return [f"{name}: {fault}" for fault in sentences(error)]
    except BadInput as error:
        return [str(error)]
    return []


def _check_speakers(mapping: Mapping, metadata: Metadata) -> list[str]:
    numbers, count = sorted(mapping.speaker2id.values()), len(mapping.speaker2id)
    if numbers != list(range(count)):
        missing = next(i for i, number in enumerate(numbers) if number != i)
        return [f"{MAPPING}: speaker2id must number its {count} speakers 0 to {count - 1}, each once; "
                f"found {numbers[missing]} in place of {missing}"]  # fmt: skip
    inverse = {str(number): name for name, number in mapping.speaker2id.items()}
    for number in sorted(inverse.keys() | mapping.id2speaker.keys(), key=lambda key: (len(key), key)):
        expected, found = inverse.get(number), mapping.id2speaker.get(number)
        if expected != found:
            return [f"{MAPPING}: id2speaker[{number!r}] is {found!r}, expected {expected!r}, as speaker2id has it"]
    return [f"{METADATA}: speaker {name!r} is not in {MAPPING}"
            for name in metadata.speakers if name not in mapping.speaker2id]  # fmt: skip


def _check_features(folder: Path, utterance: Utterance, mels: int, source: str) -> list[str]:
    name = utterance.feature_path
    path = find(folder, name)
    if path is None:
        return [f"{name} is missing, but {source} lists it"]
    try:
        frames = read_tensor(path)
    except BadInput as error:
        return [f"{name}: {error}"]
    expected = f"expected a float32 tensor ({utterance.mel_len}, {mels}), mel_len and n_mels of {source}"
    if frames.dtype != torch.float32 or frames.shape != (utterance.mel_len, mels):
        return [f"{name}: found {str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}, {expected}"]
    if not frames.isfinite().all():
        row, column = (~frames.isfinite()).nonzero()[0].tolist()
        return [f"{name}: found {frames[row, column]} in frame {row}, mel {column}, expected finite numbers"]
    return []


def _frames(folder: Path, utterances: Sequence[Utterance]) -> Iterator[shards.Batch]:
    for first in range(0, len(utterances), RECORD):
        batch = utterances[first : first + RECORD]
        frames = [read_tensor(required(folder, utterance.feature_path)) for utterance in batch]
        yield {"frames": torch.cat(frames).half().numpy()}
