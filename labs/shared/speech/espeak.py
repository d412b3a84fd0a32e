"""Speech synthesis with espeak-ng, including the times of the phonemes, for the synthetic data of the two speech labs.

The library comes as a wheel (`espeakng-loader`, GPL-3, extra `data`) and is called through ctypes.
"""

import _ctypes
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from labs.core.errors import BadInput

RATE = 22050
"""Sampling rate of espeak-ng's output, in Hz."""
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT = 2, 0x0001, 0x8000
_SPEED, _PITCH, _RANGE = 1, 3, 4
_EVENT_END_OF_LIST, _EVENT_PHONEME = 0, 7
_UTF8, _CHARACTER = 1, 1


@dataclass(frozen=True)
class Voice:
    """The voice and manner in which a text is spoken."""

    accent: str = "en-us"
    """Language code of espeak-ng: en-us, en-gb, en-gb-scotland, en-029, ..."""
    variant: str = ""
    """Voice variant: f1 to f5, m1 to m8, Annie, klatt2, ...; "" for the default of the accent."""
    speed: int = 175
    """Words per minute, 80 to 450."""
    pitch: int = 50
    """Base pitch, 0 to 99."""
    range: int = 50
    """Pitch range, 0 (monotone) to 99."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("string", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def say(text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Speak a text; the same text and voice always give the same samples.

    Returns:
        The samples, int16 (time,) at `RATE`, and for each phoneme the index of its first sample and its mnemonic in
        espeak-ng's notation ("'" and "," mark stress, "_:" and "_" are pauses).

    Raises:
        BadInput: espeakng-loader is not installed, or espeak-ng has no such voice.
    """
    chunks: list[bytes] = []
    phonemes: list[tuple[int, str]] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if count:
            chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            if events[index].type == _EVENT_PHONEME:
                phonemes.append((events[index].sample, events[index].string.decode()))
            index += 1
        return 0

    callback = _Callback(receive)  # kept in a variable: Python would free it while espeak-ng still calls it
    with _library() as library:
        library.espeak_SetSynthCallback(callback)
        _select(library, voice)
        encoded = text.encode()
        _checked(library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTER, 0, _UTF8, None, None), f"say {text!r}")
    return np.frombuffer(b"".join(chunks), np.int16), phonemes


@cache
def variants() -> list[str]:
    """Names of all voice variants, in string order."""
    return sorted(path.name for path in (Path(_loader().get_data_path()) / "voices" / "!v").iterdir())


@contextmanager
def _library() -> Iterator[Any]:
    """The library, loaded anew for each text: its state after earlier texts would change pitch flutter and timing."""
    loader = _loader()
    library = ctypes.CDLL(loader.get_library_path())
    path = str(loader.get_data_path()).encode()
    try:
        if library.espeak_Initialize(_SYNCHRONOUS, 0, path, _PHONEME_EVENTS | _DONT_EXIT) < 0:
            raise BadInput(f"espeak-ng can't read its data in {path.decode()}")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        yield library
        library.espeak_Terminate()
    finally:
        _ctypes.dlclose(library._handle)


def _loader() -> Any:
    try:
        import espeakng_loader
    except ImportError:
        raise BadInput("embedded speech needs the package espeakng-loader: pip install 'ml-labs[data]'") from None
    return espeakng_loader


def _select(library: Any, voice: Voice) -> None:
    name = f"{voice.accent}+{voice.variant}" if voice.variant else voice.accent
    if voice.variant and voice.variant not in variants():  # espeak-ng would ignore it
        raise BadInput(f"espeak-ng can't speak with the voice {name!r}: its variants are {', '.join(variants())}")
    _checked(library.espeak_SetVoiceByName(name.encode()), f"speak with the voice {name!r}")
    for parameter, value in ((_SPEED, voice.speed), (_PITCH, voice.pitch), (_RANGE, voice.range)):
        library.espeak_SetParameter(parameter, value, 0)


def _checked(code: int, what: str) -> None:
    if code:
        raise BadInput(f"espeak-ng can't {what} (its error {code})")
