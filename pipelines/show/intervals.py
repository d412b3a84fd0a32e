"""What a few seeds tell: an interval for their mean, a verdict on a difference, the error of a finite test set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

LEVEL = 0.95
FEW = 20
"""With fewer values the interval is Student's, which supposes that they are normally distributed; from here on it is a
bootstrap's (BCa, Efron 1987), which supposes nothing, but is too narrow for few values."""
Method = Literal["t", "bootstrap"]


@dataclass(frozen=True)
class Interval:
    """Where the mean of the distribution that the values are from lies, with a confidence of 95 %."""

    low: float
    high: float
    method: Method


def interval(values: Sequence[float]) -> Interval | None:
    """The interval of the values' mean; None for fewer than two values, which say nothing about their spread."""
    if len(values) < 2:
        return None
    centre, deviation = mean(values), stdev(values)
    if len(values) >= FEW and deviation:
        return _bootstrap(values)
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * deviation / math.sqrt(len(values))
    return Interval(centre - half, centre + half, "t")


def verdict(found: Interval | None, goal: str, seeds: int) -> str:
    """What the interval of a paired difference to the baseline says, for a metric that is to be large or small."""
    if found and (found.low > 0 or found.high < 0):
        return "better" if (found.low > 0) == (goal == "max") else "worse"
    return f"can't tell with {seeds} seed{'' if seeds == 1 else 's'}" if seeds else "no seed in common"


def binomial_error(share: float, samples: int) -> float:
    """Standard error of a share of so many independent samples: how far the test set itself may be off.

    Two hits and two misses are added (Agresti and Coull, 1998), or no hit at all would have no error.
    """
    added = (share * samples + 2) / (samples + 4)
    return math.sqrt(added * (1 - added) / (samples + 4))


def _bootstrap(values: Sequence[float]) -> Interval:
    import numpy as np
    from scipy.stats import bootstrap

    generator = np.random.default_rng(0)  # the same runs give the same interval
    found = bootstrap((values,), np.mean, confidence_level=LEVEL, rng=generator).confidence_interval
    return Interval(float(found.low), float(found.high), "bootstrap")
