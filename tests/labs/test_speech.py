"""Promises of the speech that the embedded data of two labs are made from, and of its features."""

import numpy as np
import pytest

from labs.core.errors import BadInput
from labs.shared.speech import acoustics, espeak

TEXT = "Please call Stella, and ask her to bring these things."


def test_a_text_sounds_the_same_whatever_was_said_before() -> None:
    """espeak-ng keeps its state from one text to the next; ours does not."""
    voice = espeak.Voice("en-us", "f3", speed=190, pitch=70)
    first, phonemes = espeak.say(TEXT, voice)
    espeak.say("Something else.", espeak.Voice("en-029", "m2"))
    again, phonemes_again = espeak.say(TEXT, voice)
    assert np.array_equal(first, again)
    assert phonemes == phonemes_again


def test_phonemes_come_with_their_times() -> None:
    """The mnemonics are those of the text, their start times rise and lie within the sound."""
    samples, phonemes = espeak.say(TEXT, espeak.Voice())
    starts = [start for start, _ in phonemes]
    assert [mnemonic for _, mnemonic in phonemes[:4]] == ["p", "l", "'i:", "z"]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < starts[-1] <= len(samples)


def test_an_unknown_voice_is_refused() -> None:
    """espeak-ng itself would go on with the voice before."""
    with pytest.raises(BadInput, match="can't speak with the voice 'en-us\\+nobody'"):
        espeak.say(TEXT, espeak.Voice("en-us", "nobody"))


def test_a_tone_is_loudest_in_its_own_band() -> None:
    """A higher tone lies in a higher mel band, silence at the floor, and frames follow each other every 10 ms."""
    time = np.arange(acoustics.RATE) / acoustics.RATE
    bands = [acoustics.log_mel(np.sin(2 * np.pi * hertz * time)).mean(0).argmax() for hertz in (300, 1000, 3000)]
    assert bands == sorted(set(bands))
    silence = acoustics.log_mel(np.zeros(acoustics.RATE))
    assert silence.shape == (98, 40)
    assert silence == pytest.approx(-20.7233, abs=1e-4)


def test_differences_are_slopes() -> None:
    """Of a straight line the first differences are its slope, the second ones 0, but for the edges."""
    line = np.arange(20.0)[:, None] * 3
    assert acoustics.delta(line)[2:-2] == pytest.approx(3)
    assert acoustics.delta(acoustics.delta(line))[4:-4] == pytest.approx(0)


def test_cepstra_are_normalised_over_the_utterance() -> None:
    """39 columns of mean 0 and deviation 1."""
    samples, _ = espeak.say(TEXT, espeak.Voice())
    features = acoustics.mfcc(acoustics.resample(samples, espeak.RATE))
    assert features.shape[1] == 39
    assert features.dtype == np.float32
    assert features.mean(0) == pytest.approx(0, abs=1e-4)
    assert features.std(0) == pytest.approx(1, abs=1e-3)
