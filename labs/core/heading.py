"""What is known of a lab without importing it: the metric that judges it, and its line in the table of contents."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from labs.core.errors import BadInput, choices

SIZES = ("tiny", "small", "course")
"""How much compute: seconds (tests), minutes on embedded data, the course's own scale (GPUs)."""


MAX_SEED = 2**32 - 1
"""Largest seed that all libraries take."""
Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]
"""Number format of a training: `fp32` is exact; `tf32` rounds the factors of products and convolutions to 10 bits;
`bf16` and `fp16` compute forward passes in 16 bits, with weights in fp32 (mixed precision, arXiv:1710.03740). `auto` is
fp32 on a CPU, on a GPU bf16, or fp16 where the card has no bf16 (before Ampere: T4, V100)."""


@dataclass(frozen=True)
class Metric:
    """The number that a lab is judged by."""

    name: str
    """The field's standard name; the run logs it as `val/<name>` and `test/<name>`."""
    goal: Literal["min", "max"]
    unit: str = ""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """The course's public leaderboard thresholds by baseline; empty where it published none."""
    share_of: str = ""
    """Split of the data with a row for each independent sample of which `test/<name>` is a share; empty for other
    metrics. Where a value is a mean over parts of a sample (queries of a task, several victims), the binomial error is
    an upper bound. Frames of one utterance are not independent."""
    course_counts: Mapping[str, int] = field(default_factory=dict)
    """Split -> its count in the course's own data, by which they are recognised; empty where `val/<name>` does not
    measure what the thresholds are of, or the course's judge is not published."""

    def passed(self, value: float) -> list[str]:
        """The baselines whose thresholds the value reaches."""
        sign = -1 if self.goal == "min" else 1
        return [name for name, threshold in self.thresholds.items() if sign * value >= sign * threshold]

    def validated(self, metrics: Mapping[str, float]) -> float | None:
        """Its value on the validation data, of the weights that a run ended with; None if missing or not a number."""
        value = metrics.get("best/value", metrics.get(f"val/{self.name}"))  # those of the best epoch, if that was kept
        return value if value is not None and math.isfinite(value) else None

    def better(self, value: float, than: float | None) -> bool:
        """Whether `value` beats `than`; a finite value beats None, and a value that is not finite beats nothing."""
        if not math.isfinite(value):
            return False
        return than is None or (value < than if self.goal == "min" else value > than)


@dataclass(frozen=True)
class Heading:
    """A lab's line in the table of contents, `labs.COURSE`."""

    name: str
    """As on the command line."""
    number: int
    """Homework number in the course, 1 to 15."""
    title: str
    metric: Metric
    presets: tuple[str, ...]
    """The ladder's rungs; the first one is the default."""
    module: str
    """Module whose `LAB` is the lab's record."""

    def choose(self, preset: str | None, size: str) -> str:
        """The preset of this name, by default the first one.

        Raises:
            BadInput: unknown preset or size; the message names the valid ones.
        """
        if preset is not None and preset not in self.presets:
            raise BadInput(f"unknown preset {preset!r} of lab {self.name}: {choices(self.presets, preset)}")
        if size not in SIZES:
            raise BadInput(f"unknown size {size!r}: {choices(SIZES, size)}")
        return preset or self.presets[0]
