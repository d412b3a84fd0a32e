"""From samples to the features of the two speech labs: log-mel spectra and MFCC, a frame of 25 ms every 10 ms."""

import numpy as np
import torch
from scipy.fft import dct
from scipy.signal import resample_poly
from transformers.audio_utils import mel_filter_bank

RATE = 16000
"""Samples a second that the features are computed at; the course's recordings have it."""
WINDOW, HOP = RATE // 40, RATE // 100
FFT = 512
FLOOR = 1e-9
"""Energy below which a log-mel value is cut: log(1e-9) = -20.7233, the course's floor."""


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples (time,) int16 or float at `rate` to float32 in -1..1 at `RATE`."""
    scale = 32768 if samples.dtype == np.int16 else 1
    divisor = np.gcd(rate, RATE)
    resampled: np.ndarray = resample_poly(samples / scale, RATE // divisor, rate // divisor).astype(np.float32)
    return resampled


def log_mel(samples: np.ndarray, mels: int = 40) -> np.ndarray:
    """Natural logarithm of mel energies, float32 (frames, mels), of samples (time,) at `RATE`.

    Frame t covers the samples from t * HOP to t * HOP + WINDOW: 1 + (time - WINDOW) // HOP frames, at least one.
    """
    audio = torch.from_numpy(np.pad(samples, (0, max(0, WINDOW - len(samples)))).astype(np.float32))
    spectrum = torch.fft.rfft(audio.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW), n=FFT).abs() ** 2
    filters = mel_filter_bank(1 + FFT // 2, mels, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    energies = spectrum @ torch.from_numpy(filters).float()
    logs: np.ndarray = energies.clamp(min=FLOOR).log().numpy()
    return logs


def mfcc(samples: np.ndarray) -> np.ndarray:
    """13 cepstral coefficients with first and second differences, float32 (frames, 39), each column normalised to mean
    0 and deviation 1 over the utterance, as the course's are."""
    static = dct(log_mel(samples), norm="ortho")[:, :13]
    columns = np.concatenate([static, delta(static), delta(delta(static))], 1)
    normal: np.ndarray = ((columns - columns.mean(0)) / (columns.std(0) + 1e-8)).astype(np.float32)
    return normal


def delta(columns: np.ndarray, width: int = 2) -> np.ndarray:
    """Slope over `width` frames on either side by least squares, (frames, n); the edges repeat."""
    padded = np.pad(columns, ((width, width), (0, 0)), mode="edge")
    total = sum(
        k * (padded[width + k :][: len(columns)] - padded[width - k :][: len(columns)]) for k in range(1, width + 1)
    )
    slope: np.ndarray = total / (2 * sum(k * k for k in range(1, width + 1)))
    return slope
