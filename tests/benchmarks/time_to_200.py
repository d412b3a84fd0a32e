"""`make bench`: how long PPO trains until the mean return is 200: preset `boss` of the rl lab, beside Stable-Baselines3
with the settings that RL Baselines3 Zoo publishes for LunarLander; README.md has the method."""

import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.benchmarks.overhead import Bench, Failed, asked_repeats
from tests.benchmarks.record import Figure, record

FIRST_SEED = 81
"""No setting was chosen with this seed or the next ones."""
LIMIT_S = 3600
"""Of one training, for a machine that others use too."""
screen = Console(stderr=True)


def main() -> None:
    """Train with one seed after the other, both ways in turn, and append the figures to `results.jsonl`."""
    repeats = asked_repeats("time_to_200", __doc__, 5)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        bench = LandingBench(Path(folder))
        pairs = []
        try:
            for seed in range(FIRST_SEED, FIRST_SEED + repeats):
                pairs.append([bench.train(script, seed) for script in ("time_to_200_lab", "time_to_200_stock")])
        except Failed as error:
            screen.print(f"error: {error}", markup=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
    beside = "PPO of Stable-Baselines3, published settings"
    record(
        [
            Figure(f"rl/{name}", unit, *([run[name] for run in runs] for runs in zip(*pairs, strict=True)), beside)
            for name, unit in (("time_to_200_s", "s"), ("time_to_200_cpu_s", "s"), ("steps_to_200", "steps"))
        ]
    )


class LandingBench(Bench):
    """Runs one training in a process of its own."""

    def train(self, script: str, seed: int) -> dict[str, float]:
        """Seconds, CPU seconds and environment steps until 200, or until the steps ran out."""
        out = self.folder / "result.json"
        self.run(f"{script}, seed {seed}", "-m", f"tests.benchmarks.{script}", str(seed), str(out), limit_s=LIMIT_S)
        result: dict[str, float] = json.loads(out.read_text())
        screen.print(f"{script}, seed {seed}: {result}", markup=False, soft_wrap=True)
        return result


if __name__ == "__main__":
    main()
