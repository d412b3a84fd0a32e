"""When a training counts as successful: the same for both sides of `tests.benchmarks.time_to_200`."""

import json
import resource
import time
from pathlib import Path

EPISODES, RETURN, MAX_STEPS = 100, 200.0, 1_000_000


class Clock:
    """Begins with the training; knows the returns of the training's episodes."""

    def __init__(self) -> None:
        self.returns: list[float] = []
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def is_over(self, steps: int, out: Path) -> bool:
        """Whether the last 100 episodes have a mean return of 200 or the steps have run out; then the time is written.

        A training that ran out of steps says so with `reached` 0.
        """
        last = self.returns[-EPISODES:]
        reached = len(last) == EPISODES and sum(last) / EPISODES >= RETURN
        wall, cpu = time.perf_counter() - self._wall, cpu_seconds() - self._cpu
        if reached or steps >= MAX_STEPS:
            result = {"time_to_200_s": wall, "time_to_200_cpu_s": cpu, "steps_to_200": steps, "reached": int(reached)}
            out.write_text(json.dumps(result))
            return True
        return False


def cpu_seconds() -> float:
    """Of this process, with all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
