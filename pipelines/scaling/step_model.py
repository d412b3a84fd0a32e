"""A model of a step's time that predicts more workers than were measured."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AllReduce:
    """The ring all-reduce of a lab's gradients, from two measured ones between some workers.

    Each of n workers sends 2(n-1) messages, one after the other, of an n-th of the gradients each
    (Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009).
    """

    latency_s: float
    """Of a message."""
    transfer_s: float
    """Of all gradients once from one worker to the next: bytes / bandwidth."""

    @classmethod
    def measured(cls, workers: int, seconds: float, seconds_of_one_number: float) -> "AllReduce":
        """From the time for all gradients, and for a single number, whose transfer takes none."""
        messages = 2 * (workers - 1)
        return cls(seconds_of_one_number / messages, max(0.0, seconds - seconds_of_one_number) * workers / messages)

    def seconds(self, workers: int) -> float:
        """2 (n-1) latency + 2 (n-1)/n * bytes / bandwidth."""
        return 2 * (workers - 1) * (self.latency_s + self.transfer_s / workers)


@dataclass(frozen=True)
class StepModel:
    """t(n) = fixed + divided / n + all-reduce(n), for a global batch that stays the same.

    `fixed` is what each worker does whatever its part of the batch is, as the optimizer's update and the start of each
    operation; nothing of the all-reduce is taken to be hidden behind the backward pass.
    """

    fixed_s: float
    divided_s: float
    all_reduce: AllReduce

    @classmethod
    def fitted(cls, step_s: Mapping[int, float], all_reduce: AllReduce) -> "StepModel":
        """The model that meets the steps of two counts of workers or, where that would take a negative part, of the
        larger one, which is nearer to what is predicted.

        Args:
            step_s: workers -> seconds of a step.
            all_reduce: what they wait for in it.
        """
        (few, of_few), (many, of_many) = sorted((n, s - all_reduce.seconds(n)) for n, s in step_s.items())
        divided = min(max(0.0, (of_few - of_many) / (1 / few - 1 / many)), of_many * many)
        return cls(of_many - divided / many, divided, all_reduce)

    def step_s(self, workers: int) -> float:
        """Seconds of a step."""
        return self.fixed_s + self.divided_s / workers + self.all_reduce.seconds(workers)
