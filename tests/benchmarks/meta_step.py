"""`make bench`: seconds of an outer step of the meta lab's MAML with vmap over its tasks, beside one task after the
other, at the widths of size `small` and `course`; on one thread of a CPU, or on a GPU where there is one."""

import argparse
import time
from functools import partial

import torch

import labs
from labs.meta.data import WAYS
from labs.meta.solvers import Learner, map_tasks, meta_loss
from tests.benchmarks.record import Figure, record

STEPS, WARMUP = 12, 2
"""Outer steps of each kind, in turn, and how many of the first ones are not counted."""


def main() -> None:
    """Measure, print a table, append to `results.jsonl`."""
    argparse.ArgumentParser(prog="python -m tests.benchmarks.meta_step", description=__doc__).parse_args()
    torch.set_num_threads(1)
    record(figure(size) for size in ("small", "course"))


def figure(size: str) -> Figure:
    """Seconds with vmap and with a loop at the width of a size, measured in turn."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = labs.get("meta").resolve("strong", size)
    net = Learner(config).to(device).net  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {"vmap": [], "loop": []}
    tasks = [torch.randint(256, (32, WAYS, 28, 28), device=device) for _ in range(2)]
    loss = partial(meta_loss, net, dict(net.named_parameters()), config)
    for _ in range(STEPS):
        for batching, of_steps in seconds.items():
            start = time.perf_counter()
            map_tasks(loss, batching, config.width, *tasks).mean().backward()  # type: ignore[attr-defined]
            if device.type == "cuda":
                torch.cuda.synchronize()
            of_steps.append(time.perf_counter() - start)
    vmap, loop = (of_steps[WARMUP:] for of_steps in seconds.values())
    return Figure(f"meta/step_{size}_s", "s", vmap, loop, "32 tasks one after the other")


if __name__ == "__main__":
    main()
