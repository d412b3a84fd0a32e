"""Synthetic speech for homework 4: many utterances of many speakers from espeak-ng, each recorded differently."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from labs.shared.speech import acoustics, espeak
from labs.shared.speech.sentences import sentence

SECONDS = (1.2, 2.4)
"""Shortest and longest synthetic utterance. The course's have a median of 5.4 s and last up to 72 s."""
ACCENTS = ("en-us", "en-gb-scotland", "en-029", "en-gb-x-rp")
VARIANTS = ("m1", "m2", "m3", "m7", "f1", "f2", "f3", "f5")
"""Voices of espeak-ng. There are only eight, so that many speakers have the same voice and differ only in pace, pitch
and vocal tract length."""


@dataclass(frozen=True)
class Speaker:
    """The properties that all utterances of a speaker have in common."""

    voice: espeak.Voice
    rate: int
    """Samples a second at which the voice's samples are played. A rate other than `espeak.RATE` shifts the formants as
    a longer or shorter vocal tract does."""


def utterances(stream: str, count: int, mels: int) -> Iterator[np.ndarray]:
    """Log-mel spectra (frames, mels) of `count` utterances of one random speaker.

    The utterances are cut from longer recordings. Each has its own microphone, room, loudness and background noise, so
    that its mean spectrum depends more on the recording conditions than on the speaker.

    Args:
        stream: seed of the speaker's random generators.
    """
    rng = random.Random(stream)
    noise = np.random.default_rng([int(byte) for byte in stream.encode()])
    speaker = random_speaker(rng)
    recording = np.zeros(0, np.float32)
    for _ in range(count):
        length = int(rng.uniform(*SECONDS) * acoustics.RATE)
        if len(recording) < length:
            recording = _record(rng, speaker)
        yield acoustics.log_mel(_disturb(noise, recording[:length]), mels)
        recording = recording[length:]


def random_speaker(rng: random.Random) -> Speaker:
    """A speaker with a random accent, voice, pace, pitch and vocal tract length."""
    voice = espeak.Voice(
        rng.choice(ACCENTS),
        rng.choice(VARIANTS),
        speed=rng.randint(140, 220),
        pitch=rng.randint(20, 80),
        range=rng.randint(15, 85),
    )
    return Speaker(voice, rng.randrange(20000, 24250, 250))


def _record(rng: random.Random, speaker: Speaker) -> np.ndarray:
    """Six sentences, about 15 s, at `acoustics.RATE`; pace and pitch vary a little between recordings."""
    voice = replace(
        speaker.voice,
        speed=speaker.voice.speed + rng.randint(-8, 8),
        pitch=speaker.voice.pitch + rng.randint(-4, 4),
    )
    samples, _ = espeak.say(" ".join(sentence(rng) for _ in range(6)), voice)
    return acoustics.resample(samples, speaker.rate)


def _disturb(rng: np.random.Generator, speech: np.ndarray) -> np.ndarray:
    """Speech recorded in a room: microphone, reverberation, steady background noise, up to two bursts, loudness."""
    from scipy.signal import oaconvolve  # 1 s to import

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
    """A random filter (65,) whose gains at eight frequencies have a standard deviation of so many decibels."""
    from scipy.signal import firwin2

    bands = np.array([0, 250, 500, 1000, 2000, 4000, 6000, 8000]) / 8000
    taps: np.ndarray = firwin2(65, bands, 10 ** (rng.normal(0, decibels, len(bands)) / 20))
    return taps.astype(np.float32)
