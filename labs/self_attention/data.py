"""Utterances of known speakers: the `Dataset` folder of homework 4, its checks, and synthetic speakers in that format.

`mapping.json` numbers the speakers, `metadata.json` lists each speaker's utterances, `testdata.json` those whose
speaker is to be found; the utterances are log-mel spectra, one `uttr-<32 hex>.pt` each.
"""

import csv
import hashlib
import json
import pickle
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field, StringConstraints, ValidationError
from scipy.signal import firwin2, oaconvolve

from labs.core import shards
from labs.core.errors import sentences
from labs.shared.speech import acoustics, espeak
from labs.shared.speech.sentences import sentence

MAPPING, METADATA, TESTDATA, ANSWERS = "mapping.json", "metadata.json", "testdata.json", "answers/testdata.csv"
SPEAKER, FEATURES = r"id\d+", r"uttr-[0-9a-f]{32}\.pt"
"""Patterns of a speaker's and of a feature file's name."""
MELS = 40
RECORD = 64
"""Utterances of a record batch: what packing holds in memory."""


class Counts(NamedTuple):
    """How much `make` writes."""

    speakers: int
    train: int
    spread: int
    """How far a speaker's number of training utterances may lie from the mean."""
    test: int


COUNTS = {
    "tiny": Counts(6, 60, 2, 18),
    "small": Counts(60, 1200, 4, 420),
    "course": Counts(600, 56666, 14, 8000),
}
"""The course's own counts; its speakers have 80 to 111 training utterances each."""
SECONDS = (1.2, 2.4)
"""Length of a synthetic utterance; the course's last 5.4 s in the median, and up to 72 s."""
ACCENTS = ("en-us", "en-gb-scotland", "en-029", "en-gb-x-rp")
VARIANTS = ("m1", "m2", "m3", "m7", "f1", "f2", "f3", "f5")
"""Few, so that many speakers share one and differ in little else than pace, melody and the size of the throat."""


class Utterance(BaseModel):
    """An entry of the two lists."""

    feature_path: Annotated[str, StringConstraints(pattern=f"^{FEATURES}$")]
    mel_len: Annotated[int, Field(ge=1)]


class Mapping(BaseModel):
    """`mapping.json`."""

    speaker2id: dict[Annotated[str, StringConstraints(pattern=f"^{SPEAKER}$")], int]
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


@dataclass(frozen=True)
class Speaker:
    """What stays the same in all that a speaker says."""

    voice: espeak.Voice
    rate: int
    """Samples a second that the voice's samples are played at: other than `espeak.RATE`, another length of throat."""


def make(folder: Path, seed: int, size: str) -> None:
    """Write synthetic speakers in the course's format; the speakers of the test utterances go to `answers/`.

    A speaker is an accent, a voice, a pitch with its movement, a pace and a length of throat. Each utterance is cut
    from a longer recording and has a microphone, a room, a loudness and noises of its own, so that its mean spectrum
    says more about where it was recorded than about who speaks. Each speaker has a random stream of its own.
    """
    counts = COUNTS[size]
    rng = random.Random(f"{seed} counts")
    names = [f"id{number:05d}" for number in sorted(rng.sample(range(10000), counts.speakers))]
    trains = _shares(rng, counts.train, counts.speakers, counts.spread)
    tests = _shares(rng, counts.test, counts.speakers, 0)
    speakers: dict[str, list[dict[str, Any]]] = {}
    test: list[tuple[dict[str, Any], str]] = []
    for name, train, held_out in zip(names, trains, tests, strict=True):
        utterances = [_save(folder, frames) for frames in _speak(f"{seed} {name}", train + held_out)]
        speakers[name] = utterances[:train]
        test += [(utterance, name) for utterance in utterances[train:]]
    test.sort(key=lambda pair: pair[0]["feature_path"])  # names are random, so their order tells nothing
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
    """One sentence per fault of a folder in the course's format; empty if it can be trained on.

    Reads every feature file, one at a time.
    """
    faults = [fault for name, model in DOCUMENTS.items() for fault in _check_document(folder / name, model)]
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
    """Pack the utterances: for each of `train` and `test`, all frames one after another in `<split>_frames`, float16
    (mels,), and in `<split>` each utterance's first frame `start`, its `length` and, for training, its `label`.

    Half precision is off by at most 0.8 % of an e-fold, far below the noise of a frame's log energy, and halves what is
    read and kept. The facts hold `speakers` (by label), `mels` and `test_ids` (file names in the order of the list).
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


# --- synthetic speakers ----------------------------------------------------------------------------------------------


def _shares(rng: random.Random, total: int, parts: int, spread: int) -> list[int]:
    """`total` in whole parts that differ by up to `spread` from their mean."""
    shares = [total // parts + (part < total % parts) for part in range(parts)]
    for part in range(0, parts - 1, 2):
        moved = rng.randint(-spread, spread)
        shares[part] += moved
        shares[part + 1] -= moved
    return shares


def _speaker(rng: random.Random) -> Speaker:
    voice = espeak.Voice(
        rng.choice(ACCENTS),
        rng.choice(VARIANTS),
        speed=rng.randint(140, 220),
        pitch=rng.randint(20, 80),
        range=rng.randint(15, 85),
    )
    return Speaker(voice, rng.randrange(20000, 24250, 250))


def _speak(stream: str, count: int) -> Iterator[np.ndarray]:
    """`count` utterances of one speaker, each (frames, MELS), with an endless recording to cut them from."""
    rng = random.Random(stream)
    noise = np.random.default_rng([int(byte) for byte in stream.encode()])
    speaker = _speaker(rng)
    recording = np.zeros(0, np.float32)
    for _ in range(count):
        length = int(rng.uniform(*SECONDS) * acoustics.RATE)
        if len(recording) < length:
            recording = _record(rng, speaker)
        yield acoustics.log_mel(_disturb(noise, recording[:length]), MELS)
        recording = recording[length:]


def _record(rng: random.Random, speaker: Speaker) -> np.ndarray:
    """A few sentences in one go, some 15 s, at `acoustics.RATE`: nobody is in the same mood twice."""
    mood = replace(
        speaker.voice,
        speed=speaker.voice.speed + rng.randint(-8, 8),
        pitch=speaker.voice.pitch + rng.randint(-4, 4),
    )
    samples, _ = espeak.say(" ".join(sentence(rng) for _ in range(6)), mood)
    return acoustics.resample(samples, speaker.rate)


def _disturb(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """The speech through a microphone in a room, with a steady noise and a few loud ones, at some loudness."""
    tail = np.arange(acoustics.RATE // 5) / acoustics.RATE
    room = rng.uniform(0, 0.25) * rng.standard_normal(len(tail)) * np.exp(-tail / rng.uniform(0.01, 0.08))
    room[0] = 1
    heard = oaconvolve(speech, np.convolve(_colour(rng, 2.5), room).astype(np.float32))[: len(speech)]
    loudness = np.full(len(speech), 10 ** (-rng.uniform(12, 30) / 20), np.float32)
    for _ in range(rng.integers(0, 3)):
        first = rng.integers(0, len(speech))
        loudness[first : first + int(rng.uniform(0.1, 0.5) * acoustics.RATE)] = 10 ** (rng.uniform(-8, 4) / 20)
    noise = oaconvolve(rng.standard_normal(len(speech), np.float32), _colour(rng, 8.0), "same")
    level = (heard.std() + 1e-6) / (noise.std() + 1e-6)
    mixed: np.ndarray = (heard + level * loudness * noise) * np.float32(10 ** (rng.uniform(-5, 5) / 20))
    return mixed


def _colour(rng: np.random.Generator, decibels: float) -> np.ndarray:
    """A filter of 65 samples that raises and lowers eight bands at random."""
    bands = np.array([0, 250, 500, 1000, 2000, 4000, 6000, 8000]) / 8000
    taps: np.ndarray = firwin2(65, bands, 10 ** (rng.normal(0, decibels, len(bands)) / 20))
    return taps.astype(np.float32)


def _save(folder: Path, frames: np.ndarray) -> dict[str, Any]:
    """Write an utterance under a name made from its content; gives its entry for the lists."""
    name = f"uttr-{hashlib.md5(frames.tobytes()).hexdigest()}.pt"
    torch.save(torch.from_numpy(frames), folder / name)
    return {"feature_path": name, "mel_len": len(frames)}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2))


# --- the course's format ---------------------------------------------------------------------------------------------


def _read(folder: Path, name: str) -> Any:
    return DOCUMENTS[name].model_validate_json((folder / name).read_bytes())


def _check_document(path: Path, model: type[BaseModel]) -> list[str]:
    if not path.exists():
        return [f"{path} is missing"]
    try:
        model.model_validate(json.loads(path.read_text()))
    except ValueError as error:
        if isinstance(error, ValidationError):
            return [f"{path.name}: {fault}" for fault in sentences(error)]
        return [f"{path.name}: expected JSON, found a fault: {error}"]
    return []


def _check_speakers(mapping: Mapping, metadata: Metadata) -> list[str]:
    numbers, count = sorted(mapping.speaker2id.values()), len(mapping.speaker2id)
    if numbers != list(range(count)):
        wrong = next(i for i, number in enumerate(numbers) if number != i)
        return [f"{MAPPING}: speaker2id must number its {count} speakers 0 to {count - 1}, each once; "
                f"found {numbers[wrong]} in place of {wrong}"]  # fmt: skip
    inverse = {str(number): name for name, number in mapping.speaker2id.items()}
    for number in sorted(inverse.keys() | mapping.id2speaker.keys(), key=lambda key: (len(key), key)):
        expected, found = inverse.get(number), mapping.id2speaker.get(number)
        if expected != found:
            return [f"{MAPPING}: id2speaker[{number!r}] is {found!r}, expected {expected!r}, as speaker2id has it"]
    return [f"{METADATA}: speaker {name!r} is not in {MAPPING}"
            for name in metadata.speakers if name not in mapping.speaker2id]  # fmt: skip


def _check_features(folder: Path, utterance: Utterance, mels: int, source: str) -> list[str]:
    name = utterance.feature_path
    try:
        frames = torch.load(folder / name, weights_only=True)
    except FileNotFoundError:
        return [f"{name} is missing, but {source} lists it"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        return [f"{name}: expected a tensor that torch.load takes with weights_only=True, found a broken file: "
                f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"]  # fmt: skip
    expected = f"expected a float32 tensor ({utterance.mel_len}, {mels}), mel_len and n_mels of {source}"
    if not isinstance(frames, torch.Tensor):
        return [f"{name}: found {type(frames).__name__}, {expected}"]
    if frames.dtype != torch.float32 or frames.shape != (utterance.mel_len, mels):
        return [f"{name}: found {str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}, {expected}"]
    if not frames.isfinite().all():
        row, column = (~frames.isfinite()).nonzero()[0].tolist()
        return [f"{name}: found {frames[row, column]} in frame {row}, mel {column}, expected finite numbers"]
    return []


def _frames(folder: Path, utterances: Sequence[Utterance]) -> Iterator[shards.Batch]:
    for first in range(0, len(utterances), RECORD):
        part = [torch.load(folder / u.feature_path, weights_only=True) for u in utterances[first : first + RECORD]]
        yield {"frames": torch.cat(part).half().numpy()}
