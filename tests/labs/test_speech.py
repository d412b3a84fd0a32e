"""Promises of the synthetic speech of two labs, and of its acoustic features."""

import numpy as np
import pytest

from labs.core.errors import BadInput
from labs.shared.speech import acoustics, espeak

TEXT = "Please call Stella, and ask her to bring these things."


def test_a_text_is_spoken_the_same_whatever_was_spoken_before() -> None:
    """espeak-ng keeps state from one text to the next; `say` does not."""
    voice = espeak.Voice("en-us", "f3", speed=190, pitch=70)
    first, phonemes = espeak.say(TEXT, voice)
    espeak.say("Something else.", espeak.Voice("en-029", "m2"))
    again, phonemes_again = espeak.say(TEXT, voice)
    assert np.array_equal(first, again)
    assert phonemes == phonemes_again


def test_phonemes_have_start_times() -> None:
    """The mnemonics are those of the text; their start times increase and lie within the audio."""
    samples, phonemes = espeak.say(TEXT, espeak.Voice())
    starts = [start for start, _ in phonemes]
    assert [mnemonic for _, mnemonic in phonemes[:4]] == ["p", "l", "'i:", "z"]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < starts[-1] <= len(samples)


def test_an_unknown_voice_is_rejected() -> None:
    """espeak-ng itself would continue with the previous voice."""
    with pytest.raises(BadInput, match="can't speak with the voice 'en-us\\+nobody'"):
        espeak.say(TEXT, espeak.Voice("en-us", "nobody"))


def test_a_tone_has_most_energy_in_its_own_band() -> None:
    """A higher tone is in a higher mel band, silence is at the floor, and there is a frame every 10 ms."""
    time = np.arange(acoustics.RATE) / acoustics.RATE
    bands = [acoustics.log_mel(np.sin(2 * np.pi * hertz * time)).mean(0).argmax() for hertz in (300, 1000, 3000)]
    assert bands == sorted(set(bands))
    silence = acoustics.log_mel(np.zeros(acoustics.RATE))
    assert silence.shape == (98, 40)
    assert silence == pytest.approx(-20.7233, abs=1e-4)


def test_differences_are_slopes() -> None:
    """The first differences of a line are its slope and the second differences are 0, except at the edges."""
    line = np.arange(20.0)[:, None] * 3
    assert acoustics.delta(line)[2:-2] == pytest.approx(3)
    assert acoustics.delta(acoustics.delta(line))[4:-4] == pytest.approx(0)


def test_cepstra_are_normalised_over_the_utterance() -> None:
    """39 columns of mean 0 and standard deviation 1."""
    samples, _ = espeak.say(TEXT, espeak.Voice())
    features = acoustics.mfcc(acoustics.resample(samples, espeak.RATE))
    assert features.shape[1] == 39
    assert features.dtype == np.float32
    assert features.mean(0) == pytest.approx(0, abs=1e-4)
    assert features.std(0) == pytest.approx(1, abs=1e-3)
