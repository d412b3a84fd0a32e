"""`make bench`: seconds of a meta-step of the meta lab's MAML, its tasks all at once (vmap) beside one after the other,
at the widths of size `small` and `course`; on one thread of a CPU, or on a GPU where there is one."""

import argparse
import time
from functools import partial

import torch

import labs
from labs.meta.few_shot import over_tasks
from labs.meta.lesson import Learner, objective
from labs.meta.tasks import WAYS
from tests.benchmarks.record import Figure, record

STEPS, SETTLED = 12, 2
"""Meta-steps of each kind, in turn, and how many of them come before seconds are counted."""


def main() -> None:
    """Measure, print a table, append to `results.jsonl`."""
    argparse.ArgumentParser(prog="python -m tests.benchmarks.meta_step", description=__doc__).parse_args()
    torch.set_num_threads(1)
    record(figure(size) for size in ("small", "course"))


def figure(size: str) -> Figure:
    """Both ways at the width of a size, in turn."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = labs.get("meta").resolve("strong", size)
    net = Learner(config).to(device).net  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {"vmap": [], "loop": []}
    tasks = [torch.randint(256, (32, WAYS, 28, 28), device=device) for _ in range(2)]
    loss = partial(objective, net, dict(net.named_parameters()), config)
    for _ in range(STEPS):
        for batching, taken in seconds.items():
            start = time.perf_counter()
            over_tasks(loss, batching, config.width, *tasks).mean().backward()  # type: ignore[attr-defined]
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    vmap, loop = (taken[SETTLED:] for taken in seconds.values())
    return Figure(f"meta/step_{size}_s", "s", vmap, loop, "32 tasks one after the other")


if __name__ == "__main__":
    main()
