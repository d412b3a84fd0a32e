"""Acoustic features of the two speech labs: log-mel spectra and MFCC, in frames of 25 ms, one every 10 ms."""

import numpy as np
import torch

RATE = 16000
"""Sampling rate in Hz at which features are computed, that of the course's recordings."""
WINDOW, HOP = RATE // 40, RATE // 100
"""Length of a frame, and distance between frames, in samples."""
FFT = 512
FLOOR = 1e-9
"""Smallest mel energy; lower ones are raised to it. log(1e-9) = -20.7233 is the minimum of the course's data."""


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples (time,), int16 or float, at the sampling rate `rate` -> float32 from -1 to 1 at `RATE`."""
    from scipy.signal import resample_poly  # 1 s to import, and only preparing data needs it

    scale = 32768 if samples.dtype == np.int16 else 1
    divisor = np.gcd(rate, RATE)
    resampled: np.ndarray = resample_poly(samples / scale, RATE // divisor, rate // divisor).astype(np.float32)
    return resampled


def log_mel(samples: np.ndarray, mels: int = 40) -> np.ndarray:
    """Natural logarithm of mel energies, float32 (frames, mels), of samples (time,) at `RATE`.

    Frame t covers the samples from t * HOP to t * HOP + WINDOW: 1 + (time - WINDOW) // HOP frames, at least one.
    """
    from transformers.audio_utils import mel_filter_bank

    audio = torch.from_numpy(np.pad(samples, (0, max(0, WINDOW - len(samples)))).astype(np.float32))
    spectrum = torch.fft.rfft(audio.unfold(0, WINDOW, HOP) * torch.hann_window(WINDOW), n=FFT).abs() ** 2
    filters = mel_filter_bank(1 + FFT // 2, mels, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    energies = spectrum @ torch.from_numpy(filters).float()
    logs: np.ndarray = energies.clamp(min=FLOOR).log().numpy()
    return logs


def mfcc(samples: np.ndarray) -> np.ndarray:
    """13 mel-frequency cepstral coefficients with their first and second differences, float32 (frames, 39).

    Each column is normalised to mean 0 and standard deviation 1 over the utterance, as in the course's data.
    """
    from scipy.fft import dct

    static = dct(log_mel(samples), norm="ortho")[:, :13]
    columns = np.concatenate([static, delta(static), delta(delta(static))], 1)
    normalised: np.ndarray = ((columns - columns.mean(0)) / (columns.std(0) + 1e-8)).astype(np.float32)
    return normalised


def delta(columns: np.ndarray, width: int = 2) -> np.ndarray:
    """Differences (frames, n): the least-squares slope over `width` frames on either side; edge frames are repeated."""
    # d_t = sum_k k (c_(t+k) - c_(t-k)) / (2 sum_k k^2),  k = 1 ... width
    padded = np.pad(columns, ((width, width), (0, 0)), mode="edge")
    total = sum(
        k * (padded[width + k :][: len(columns)] - padded[width - k :][: len(columns)]) for k in range(1, width + 1)
    )
    slope: np.ndarray = total / (2 * sum(k * k for k in range(1, width + 1)))
    return slope
