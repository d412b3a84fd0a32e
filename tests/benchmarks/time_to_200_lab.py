"""`python -m tests.benchmarks.time_to_200_lab SEED OUT`: preset `boss` of the rl lab at size `small`, as long."""

import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

import labs
from labs.rl import rllib
from tests.benchmarks.mean_return import Clock


def main(seed: int, out: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    # After each iteration the clock may stop.
    config: Any = labs.get("rl").resolve("boss", "small", {"validate_every": 1})
    with tempfile.TemporaryDirectory() as folder:
        settings = rllib.algorithm_config(config, seed=seed, gpu=False)
        with rllib.running(settings, Path(folder)) as algorithm:
            sample, totals = algorithm.env_runner.sample, defaultdict[str, float](float)

            def watched() -> Any:
                chunks = sample()
                for chunk in chunks:
                    totals[chunk.id_] += chunk.get_return()
                    if chunk.is_done:
                        clock.returns.append(totals.pop(chunk.id_))
                return chunks

            algorithm.env_runner.sample = watched
            steps, clock = 0, Clock()
            while not clock.is_over(steps, out):
                steps += int(algorithm.train()["env_runners"]["num_env_steps_sampled"])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
