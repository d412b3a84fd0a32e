"""Synthetic speech for homework 2: utterances from espeak-ng with the phoneme of each frame, in a noisy room."""

import random
from dataclasses import dataclass

import numpy as np

from labs.shared.speech import acoustics, espeak
from labs.shared.speech.sentences import sentence

PHONEMES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
).split()
CLASSES = ("silence", *PHONEMES, "noise")
"""Names of the 41 classes in synthetic speech, by class index. The course published no names."""
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
"""Class -> the mnemonics of espeak-ng's English voices that belong to it, without stress marks."""
CLASS_OF = {mnemonic: CLASSES.index(name) for name, mnemonics in MNEMONICS.items() for mnemonic in mnemonics.split()}
MAX_FRAMES = 998
"""Frames of the course's longest utterance. Longer synthetic utterances are cut."""
Segment = tuple[int, np.ndarray]
"""A class and the samples of a stretch of audio in which it is heard."""


@dataclass(frozen=True)
class Speaker:
    """Somebody who speaks several utterances."""

    voice: espeak.Voice
    rate: int
    """Samples a second at which the voice's samples are played. A rate other than `espeak.RATE` shifts the formants as
    a longer or shorter vocal tract does."""


def random_speaker(rng: random.Random) -> Speaker:
    """A speaker with a random accent, voice, pace and pitch."""
    accent = rng.choice(("en-us", "en-us", "en-us", "en-gb-x-rp", "en-gb-scotland", "en-029"))
    variant = rng.choice(("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"))
    voice = espeak.Voice(accent, variant, rng.randint(140, 210), rng.randint(20, 80), rng.randint(20, 80))
    return Speaker(voice, rng.randrange(19500, 25000, 500))


def utterance(rng: random.Random, speaker: Speaker) -> tuple[np.ndarray, np.ndarray]:
    """A spoken text recorded in a noisy room: MFCC (frames, 39) float32 and the class of each frame (frames,) int64.

    A frame's class is the class at the middle of the frame.
    """
    noise = np.random.default_rng(rng.getrandbits(64))
    segments = _segments(rng, noise, speaker.voice)
    ends = np.cumsum([len(samples) for _, samples in segments]) * acoustics.RATE / speaker.rate
    audio = acoustics.resample(np.concatenate([samples for _, samples in segments]), speaker.rate)
    features = acoustics.mfcc(_record(rng, noise, audio))[:MAX_FRAMES]
    middles = np.arange(len(features)) * acoustics.HOP + acoustics.WINDOW / 2
    classes = np.array([label for label, _ in segments])
    return features, classes[np.searchsorted(ends, middles, side="right")]


def _segments(rng: random.Random, noise: np.random.Generator, voice: espeak.Voice) -> list[Segment]:
    """The phonemes, pauses and noises of an utterance, in order."""
    text = " ".join(sentence(rng) for _ in range(rng.choice((1, 1, 1, 2))))
    samples, phonemes = espeak.say(text, voice)
    starts = [start for start, _ in phonemes] + [len(samples)]
    loudness = float(np.abs(samples).mean())
    segments = _pause(rng, noise, loudness)
    for (start, mnemonic), end in zip(phonemes, starts[1:], strict=True):
        label = CLASS_OF[mnemonic.strip("',")]
        segments.append((label, samples[start:end].astype(np.float32)))
        if mnemonic == "_:":
            segments += _pause(rng, noise, loudness)
    return segments


def _pause(rng: random.Random, noise: np.random.Generator, loudness: float) -> list[Segment]:
    """Silence, in four of ten pauses with a burst of coloured noise (a breath, click or bump) in it."""
    segments = [(SILENCE, np.zeros(int(espeak.RATE * rng.uniform(0.05, 0.3)), np.float32))]
    if rng.random() < 0.4:
        length = int(espeak.RATE * rng.choice((rng.uniform(0.03, 0.1), rng.uniform(0.1, 0.5))))
        burst = _coloured(rng, noise, length) * np.hanning(length)
        segments.append((NOISE, (burst * loudness * rng.uniform(0.3, 2)).astype(np.float32)))
        segments.append((SILENCE, np.zeros(int(espeak.RATE * rng.uniform(0.05, 0.2)), np.float32)))
    return segments


def _record(rng: random.Random, noise: np.random.Generator, audio: np.ndarray) -> np.ndarray:
    """Audio (time,) at `acoustics.RATE` as a microphone records it, with reverberation and background noise."""
    from scipy.signal import oaconvolve  # 1 s to import

    tail = int(acoustics.RATE * 0.3)
    echo = noise.standard_normal(tail) * np.exp(-np.arange(tail) / (acoustics.RATE * rng.uniform(0.03, 0.12)))
    echo *= rng.uniform(0.4, 1.2) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    wet = oaconvolve(audio, echo)[: len(audio)]
    hiss = _coloured(rng, noise, len(audio))
    noisy: np.ndarray = wet + hiss * np.sqrt((wet**2).mean()) * 10 ** (-rng.uniform(6, 24) / 20)
    return noisy


def _coloured(rng: random.Random, noise: np.random.Generator, length: int) -> np.ndarray:
    """Noise (length,) of power 1 whose spectrum falls or rises with the frequency."""
    from scipy.signal import lfilter

    tilted = lfilter([1.0], [1.0, -rng.uniform(-0.5, 0.95)], noise.standard_normal(length))
    coloured: np.ndarray = tilted / np.sqrt((tilted**2).mean())
    return coloured
