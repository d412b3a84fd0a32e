"""`make bench`: environment steps per second of the rl lab's PPO, beside PPO of Stable-Baselines3 with the same
network, environments, batch, minibatch and passes on the same cores; README.md has the method."""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console

import labs
from pipelines.home import records
from tests.benchmarks.overhead import Bench, Failed, asked_repeats, epochs_of
from tests.benchmarks.record import Figure, record

SCRIPT = Path(__file__).with_name("stock_reinforcement.py")
ITERATIONS, WARMUP = 10, 2
"""Iterations of collecting and learning, and how many of the first ones are not counted: they start the
environments."""
screen = Console(stderr=True)


def main() -> None:
    """Measure, print a table, append to `results.jsonl`."""
    repeats = asked_repeats("reinforcement", __doc__, 3)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        bench = SpeedBench(Path(folder))
        ours, stock = [], []
        try:
            for number in range(1, repeats + 1):
                stock.append(bench.stock_speed(f"{number}/{repeats} Stable-Baselines3"))
                ours.append(bench.lab_speed(f"{number}/{repeats} labs train rl"))
        except Failed as error:
            screen.print(f"error: {error}", markup=False, soft_wrap=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
    record([Figure("rl/env_steps_per_s", "steps/s", ours, stock, "PPO of Stable-Baselines3")])


class SpeedBench(Bench):
    """Runs PPO both ways, with the settings of preset `boss` at size `small`."""

    def lab_speed(self, what: str) -> float:
        """Steps per second of this program: median over the iterations."""
        fields = ["--set", f"iterations={ITERATIONS}", "--set", "validate_every=1"]
        job = ["train", "rl", "--preset", "boss", "--size", "small", *fields]
        self.run(what, "-m", "pipelines.cli", *job, "--home", str(self.home), "--gpus-per-worker", "0", "--force")
        (folder, _) = list(records(self.home, "runs"))[-1]
        return float(median([e["metrics"]["perf/samples_per_s"] for e in epochs_of(folder)][WARMUP:]))

    def stock_speed(self, what: str) -> float:
        """Steps per second of the stock script: median over the iterations."""
        settings = labs.get("rl").resolve("boss", "small", {"iterations": ITERATIONS}).model_dump(mode="json")
        settings["envs"] = max(1, settings["num_env_runners"]) * settings["envs_per_runner"]
        out = self.folder / "steps.json"
        self.run(what, str(SCRIPT), json.dumps(settings), str(out))
        return float(median(json.loads(out.read_text())[WARMUP:]))


if __name__ == "__main__":
    main()
