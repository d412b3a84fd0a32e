"""Every lab and preset trains on a GPU, and what it leaves can be read without one."""

import math
from pathlib import Path

import pytest
import torch

import labs
from labs.core import events
from labs.core.run import Run
from tests.labs.store import Store

PRESETS = [
    (name, preset) for name, heading in labs.COURSE.items() if name != "rl" for preset in heading.presets
]  # rl, which needs RLlib, is in test_on_ray.py


@pytest.mark.parametrize(("lab", "preset"), PRESETS, ids=map("-".join, PRESETS))
def test_every_preset_trains_on_a_gpu(lab: str, preset: str, store: Store, tmp_path: Path) -> None:
    found = labs.get(lab)
    run = Run(tmp_path, store.data_dir(lab), upstream=store.upstream(lab), device=torch.device("cuda"))
    found.fit(found.resolve(preset, "tiny"), run)
    metrics = {name: value for event in events.read(tmp_path) for name, value in event["metrics"].items()}
    assert math.isfinite(metrics[f"val/{found.metric.name}"])
    assert not any(part.is_cuda for part in found.load(tmp_path).parameters())


def test_a_job_leaves_no_memory_of_the_gpu_to_the_next_one(store: Store, tmp_path: Path) -> None:
    """Jobs follow each other in one process."""
    from pipelines.worker import forget_job

    left = []
    for number, lab in enumerate(("cnn", "gan", "transformer", "cnn", "gan", "transformer")):
        found = labs.get(lab)
        run = Run(tmp_path / str(number), store.data_dir(lab), device=torch.device("cuda"))
        found.fit(found.resolve(found.heading.presets[0], "tiny", {"epochs": 1}), run)
        del run
        forget_job()
        left.append(torch.cuda.memory_allocated())
    assert max(left[3:]) <= max(left[:3]), left  # libraries keep some workspace
