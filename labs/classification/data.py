"""Framewise phonemes: the folder format of homework 2 (`libriphone/`), its checks, and spoken data in the same format.

`train_split.txt` and `test_split.txt` name one utterance a line, as speaker-chapter-index. `feat/train/<id>.pt` and
`feat/test/<id>.pt` each hold a float32 tensor (frames, 39) of MFCC; `train_labels.txt` has a line `<id> <class> <class>
...` for each training utterance, a class a frame. Both a folder that holds `libriphone/` and `libriphone/` itself are
taken.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter, oaconvolve

from labs.core import shards
from labs.shared.speech import acoustics, espeak
from labs.shared.speech.sentences import sentence

ROOT, LABELS, ANSWERS = "libriphone", "train_labels.txt", "answers/test_labels.txt"
SPLITS = ("train", "test")
FEATURES = 39
PHONEMES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
).split()
CLASSES = ("silence", *PHONEMES, "noise")
"""The course gave its 41 classes no names; in spoken data they are these, in this order."""
SILENCE, NOISE = 0, len(CLASSES) - 1
MNEMONICS = {
    "AA": "0 A: A@",
    "AE": "a aa",
    "AH": "@ @2 @5 V a#",
    "AO": "O: O2 O@ o@",
    "AW": "aU",
    "AY": "aI aI2 aI3 aI@",
    "B": "b",
    "CH": "tS",
    "D": "d",
    "DH": "D",
    "EH": "E e@",
    "ER": "3 3: IR VR",
    "EY": "eI",
    "F": "f",
    "G": "g",
    "HH": "h",
    "IH": "I I2 I# i@ i@3",
    "IY": "i i:",
    "JH": "dZ",
    "K": "k",
    "L": "l @L",
    "M": "m",
    "N": "n",
    "NG": "N",
    "OW": "oU",
    "OY": "OI",
    "P": "p",
    "R": "r r-",
    "S": "s",
    "SH": "S",
    "T": "t t# t2 t[",
    "TH": "T",
    "UH": "U U@",
    "UW": "u:",
    "V": "v",
    "W": "w w#",
    "Y": "j ;",
    "Z": "z",
    "ZH": "Z",
    "silence": "_ _: _!",
}
"""Class -> espeak-ng's mnemonics of English that it takes in, without their stress marks."""
CLASS_OF = {mnemonic: CLASSES.index(name) for name, mnemonics in MNEMONICS.items() for mnemonic in mnemonics.split()}
COUNTS = {"tiny": (30, 10), "small": (300, 100), "course": (4286, 1078)}
"""Size -> utterances to train and to test."""
SPEAKERS = {"tiny": 5, "small": 40, "course": 250}
LONGEST = 998
"""Frames of the course's longest utterance, where longer ones are cut."""
RECORD = 1 << 16
"""Frames of a record batch, about: what packing holds in memory."""


@dataclass(frozen=True)
class Speaker:
    """Who speaks: a voice, and the rate in Hz that its samples are taken to have, which makes a larger or smaller
    mouth."""

    voice: espeak.Voice
    rate: int


def make(folder: Path, seed: int, size: str) -> None:
    """Write spoken utterances in the course's format; the test set's classes go to `answers/`.

    Each utterance has a random stream of its own, named after seed, split and number. As in the course, training and
    test utterances come from the same speakers.
    """
    root = folder / ROOT
    names = random.Random(f"{seed} speakers")
    speakers = [_speaker(names) for _ in range(SPEAKERS[size])]
    (folder / ANSWERS).parent.mkdir(parents=True, exist_ok=True)
    for split, count in zip(SPLITS, COUNTS[size], strict=True):
        (root / "feat" / split).mkdir(parents=True, exist_ok=True)
        ids = []
        with (root / LABELS if split == "train" else folder / ANSWERS).open("w") as file:
            for number in range(count):
                rng = random.Random(f"{seed} {split} {number}")
                who = rng.randrange(len(speakers))
                ids.append(f"{1000 + who}-{120000 + 2 * who + (split == 'test')}-{number:04d}")
                features, labels = utterance(rng, speakers[who])
                torch.save(torch.from_numpy(features), root / "feat" / split / f"{ids[-1]}.pt")
                file.write(f"{ids[-1]} {' '.join(map(str, labels))}\n")
        (root / f"{split}_split.txt").write_text("\n".join(ids))


def utterance(rng: random.Random, speaker: Speaker) -> tuple[np.ndarray, np.ndarray]:
    """Something said in a room with noise: MFCC (frames, 39) float32 and the class of each frame (frames,) int64.

    A frame's class is what is said at its middle.
    """
    noise = np.random.default_rng(rng.getrandbits(64))
    pieces = _pieces(rng, noise, speaker.voice)
    ends = np.cumsum([len(samples) for _, samples in pieces]) * acoustics.RATE / speaker.rate
    audio = acoustics.resample(np.concatenate([samples for _, samples in pieces]), speaker.rate)
    features = acoustics.mfcc(_record(rng, noise, audio))[:LONGEST]
    middles = np.arange(len(features)) * acoustics.HOP + acoustics.WINDOW / 2
    classes = np.array([label for label, _ in pieces])
    return features, classes[np.searchsorted(ends, middles, side="right")]


def check(folder: Path) -> list[str]:
    """One sentence per fault of a folder in the course's format; empty if it can be trained on.

    Reads every utterance, one at a time.
    """
    root = _root(folder)
    needed = [*(f"{split}_split.txt" for split in SPLITS), LABELS, *(f"feat/{split}" for split in SPLITS)]
    faults = [f"{root / name} is missing" for name in needed if not (root / name).exists()]
    faults = faults or [fault for split in SPLITS for fault in _check_ids(root / f"{split}_split.txt")]
    if faults:
        return faults
    lines, faults = _label_lines(root)
    for split in SPLITS:
        for number, name in enumerate(_ids(root, split), 1):
            path = root / "feat" / split / f"{name}.pt"
            if not path.exists():
                faults.append(f"feat/{split}/{name}.pt is missing, but {split}_split.txt line {number} names it")
                continue
            found = _features_or_fault(path)
            if isinstance(found, str):
                faults.append(f"feat/{split}/{name}.pt: {found}")
            elif split == "train" and (fault := _check_labels(root, lines, name, len(found))):
                faults.append(f"{LABELS}{fault}")
    return faults


def prepare(folder: Path, out: Path, origin: Any) -> dict[str, Any]:
    """Pack the frames of all utterances one after the other, in the order of the split files.

    Splits `train` and `test` have a row a frame: `frame`, float32 (39,), and but for the test set `label`, int64;
    `train_utterances` and `test_utterances` have a row an utterance: `length`, its number of frames, int64.
    """
    root = _root(folder)
    splits: dict[str, Iterator[shards.Batch]] = {}
    for split in SPLITS:
        lengths: list[int] = []
        splits[split] = _batches(root, split, lengths)
        splits[f"{split}_utterances"] = _lengths(lengths)
    return shards.pack(out, splits, origin=origin)


def answers(folder: Path) -> list[str]:
    """Classes of all test frames, in the order of the submission."""
    return [label for line in (folder / ANSWERS).read_text().splitlines() for label in line.split()[1:]]


# --- speech ----------------------------------------------------------------------------------------------------------


def _speaker(rng: random.Random) -> Speaker:
    accent = rng.choice(("en-us", "en-us", "en-us", "en-gb-x-rp", "en-gb-scotland", "en-029"))
    variant = rng.choice(("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"))
    voice = espeak.Voice(accent, variant, rng.randint(140, 210), rng.randint(20, 80), rng.randint(20, 80))
    return Speaker(voice, rng.randrange(19500, 25000, 500))


def _pieces(rng: random.Random, noise: np.random.Generator, voice: espeak.Voice) -> list[tuple[int, np.ndarray]]:
    """Class and samples of everything in an utterance, in order: phonemes, pauses and noises."""
    text = " ".join(sentence(rng) for _ in range(rng.choice((1, 1, 1, 2))))
    samples, phonemes = espeak.say(text, voice)
    starts = [start for start, _ in phonemes] + [len(samples)]
    loudness = float(np.abs(samples).mean())
    pieces = _pause(rng, noise, loudness)
    for (start, mnemonic), end in zip(phonemes, starts[1:], strict=True):
        label = CLASS_OF[mnemonic.strip("',")]
        pieces.append((label, samples[start:end].astype(np.float32)))
        if mnemonic == "_:":
            pieces += _pause(rng, noise, loudness)
    return pieces


def _pause(rng: random.Random, noise: np.random.Generator, loudness: float) -> list[tuple[int, np.ndarray]]:
    """A stretch of silence, now and then with a breath, a click or a bump in it."""
    pieces = [(SILENCE, np.zeros(int(espeak.RATE * rng.uniform(0.05, 0.3)), np.float32))]
    if rng.random() < 0.4:
        length = int(espeak.RATE * rng.choice((rng.uniform(0.03, 0.1), rng.uniform(0.1, 0.5))))
        burst = _coloured(rng, noise, length) * np.hanning(length)
        pieces.append((NOISE, (burst * loudness * rng.uniform(0.3, 2)).astype(np.float32)))
        pieces.append((SILENCE, np.zeros(int(espeak.RATE * rng.uniform(0.05, 0.2)), np.float32)))
    return pieces


def _record(rng: random.Random, noise: np.random.Generator, audio: np.ndarray) -> np.ndarray:
    """Audio (time,) at `acoustics.RATE` as a microphone hears it: with the room's echo and noise."""
    tail = int(acoustics.RATE * 0.3)
    echo = noise.standard_normal(tail) * np.exp(-np.arange(tail) / (acoustics.RATE * rng.uniform(0.03, 0.12)))
    echo *= rng.uniform(0.4, 1.2) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    wet = oaconvolve(audio, echo)[: len(audio)]
    hiss = _coloured(rng, noise, len(audio))
    noisy: np.ndarray = wet + hiss * np.sqrt((wet**2).mean()) * 10 ** (-rng.uniform(6, 24) / 20)
    return noisy


def _coloured(rng: random.Random, noise: np.random.Generator, length: int) -> np.ndarray:
    """Noise (length,) of power 1, from dull to bright."""
    tilted = lfilter([1.0], [1.0, -rng.uniform(-0.5, 0.95)], noise.standard_normal(length))
    coloured: np.ndarray = tilted / np.sqrt((tilted**2).mean())
    return coloured


# --- reading ---------------------------------------------------------------------------------------------------------


def _root(folder: Path) -> Path:
    return folder / ROOT if (folder / ROOT).is_dir() else folder


def _ids(root: Path, split: str) -> list[str]:
    return (root / f"{split}_split.txt").read_text().splitlines()


def _features(path: Path) -> torch.Tensor:
    """(frames, 39) float32, by torch's safe reader: a pickle of anything but tensors is refused."""
    features: torch.Tensor = torch.load(path, weights_only=True)
    return features


def _label_lines(root: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Utterance -> number and place in bytes of its line in the file of labels; and the faults found on the way."""
    lines: dict[str, tuple[int, int]] = {}
    faults, place = [], 0
    with (root / LABELS).open("rb") as file:
        for number, line in enumerate(file, 1):
            name = line.split(b" ", 1)[0].decode(errors="replace").strip()
            if name in lines:
                faults.append(f"{LABELS} line {number}: {name} stands twice, first on line {lines[name][0]}")
            lines[name] = (number, place)
            place += len(line)
    return lines, faults


def _labels(root: Path, place: int) -> list[str]:
    """The labels, as they are written, of the utterance whose line starts at this byte."""
    with (root / LABELS).open("rb") as file:
        file.seek(place)
        return file.readline().decode(errors="replace").split()[1:]


def _check_ids(path: Path) -> list[str]:
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, name in enumerate(path.read_text().splitlines(), 1):
        if not re.fullmatch(r"\w+-\w+-\w+", name):
            faults.append(f"{path.name} line {number}: expected an id as speaker-chapter-index, found {name!r}")
        elif name in seen:
            faults.append(f"{path.name} line {number}: {name} stands twice, first on line {seen[name]}")
        seen.setdefault(name, number)
    return faults if seen else [f"{path.name} is empty: expected an utterance id a line"]


def _features_or_fault(path: Path) -> torch.Tensor | str:
    try:
        features = _features(path)
    except Exception as error:  # torch, zip and pickle each have errors of their own for a broken file
        return f"expected a tensor that torch.save wrote, found a file that torch can't read ({type(error).__name__})"
    if not isinstance(features, torch.Tensor):
        return f"expected a tensor, found a {type(features).__name__}"
    if features.ndim != 2 or features.shape[1] != FEATURES or not len(features):
        return f"expected the shape (frames, {FEATURES}), found {tuple(features.shape)}"
    if features.dtype != torch.float32:
        return f"expected float32, found {str(features.dtype).removeprefix('torch.')}"
    if not features.isfinite().all():
        frame = int((~features.isfinite()).any(1).nonzero()[0])
        return f"expected finite numbers, found {features[frame][~features[frame].isfinite()][0]:g} in frame {frame}"
    return features


def _check_labels(root: Path, lines: dict[str, tuple[int, int]], name: str, frames: int) -> str | None:
    if name not in lines:
        return f": no line for {name}, which train_split.txt names"
    number, place = lines[name]
    labels, valid = _labels(root, place), {str(label) for label in range(len(CLASSES))}
    if len(labels) != frames:
        return (
            f" line {number}: found {len(labels)} labels, expected {frames}, as many as feat/train/{name}.pt has frames"
        )
    bad = next((frame for frame, label in enumerate(labels) if label not in valid), None)
    if bad is not None:
        return f" line {number}: found label {labels[bad]!r} at frame {bad}, expected 0 to {len(CLASSES) - 1}"
    return None


def _batches(root: Path, split: str, lengths: list[int]) -> Iterator[shards.Batch]:
    """Frames of many utterances at a time; each utterance's number of frames is added to `lengths` as it is read."""
    lines = _label_lines(root)[0] if split == "train" else {}
    frames: list[np.ndarray] = []
    labels: list[int] = []
    for name in _ids(root, split):
        frames.append(_features(root / "feat" / split / f"{name}.pt").numpy())
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
    """The lengths, which are complete as `shards.pack` takes the splits in order."""
    yield {"length": np.array(lengths, np.int64)}
