"""What a GPU computes in each number format, beside a CPU in fp32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import labs
from labs.core import events
from labs.core.run import STOP, Interrupted, Run
from labs.shared.vision.augmentation import augment
from tests.labs.store import Store

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BOUNDS = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 2e-2, "fp16": 2e-2}
"""Format -> largest relative difference of the first epoch's training loss from a CPU's."""
WITHOUT_DRAWS = [
    ("regression", "simple", "train/loss"),
    ("classification", "simple", "train/loss"),
    ("cnn", "simple", "train/loss"),
    ("anomaly", "simple", "train/loss"),
    ("lifelong", "baseline", "train/loss"),
    ("meta", "strong", "train/loss"),
    ("gan", "strong", "train/critic_loss"),
]
"""Presets whose random numbers are all drawn on the CPU, and so the same on both."""


def first_loss(
    lab: str, preset: str, metric: str, store: Store, folder: Path, device: torch.device, **how: Any
) -> float:
    """Train one epoch; what the metric was."""
    found = labs.get(lab)
    name = "epochs" if "epochs" in found.config.model_fields else "epochs_per_task"
    run = Run(folder, store.data_dir(lab), seed=1, upstream=store.upstream(lab), device=device, **how)
    found.train(found.resolve(preset, "tiny", {name: 1}), run)
    return float(events.read(folder)[0]["metrics"][metric])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize(("lab", "preset", "metric"), WITHOUT_DRAWS, ids=[lab for lab, _, _ in WITHOUT_DRAWS])
def test_an_epoch_learns_what_it_learns_on_a_cpu(
    lab: str, preset: str, metric: str, precision: str, compiled: bool, store: Store, tmp_path: Path
) -> None:
    expected = first_loss(lab, preset, metric, store, tmp_path / "cpu", CPU)
    if (lab, precision) == ("regression", "fp16"):
        pytest.skip("the first steps are left out, until the loss, which is in the hundreds, is scaled less")
    how = {"precision": precision, "compiled": compiled}
    found = first_loss(lab, preset, metric, store, tmp_path / "gpu", GPU, **how)
    print(f"{lab} {precision} compiled={compiled}: {found:.6g} beside {expected:.6g}, {found / expected - 1:+.1e}")
    assert found == pytest.approx(expected, rel=BOUNDS[precision])


def test_fp16_leaves_out_a_step_whose_gradients_overflow(tmp_path: Path) -> None:
    """The loss is scaled by 65,536 at first: a gradient of 1 in fp16 overflows, and the scale is halved."""
    run = Run(tmp_path, tmp_path, device=GPU, precision="fp16")
    model = run.wrap(nn.Linear(4, 1, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before, steps = model.weight.detach().clone(), 0
    while torch.equal(model.weight, before) and steps < 20:
        optimizer.zero_grad()
        run.backward(4 * model(torch.ones(1, 4, device=GPU)).sum())
        run.step(optimizer)
        assert bool(model.weight.isfinite().all())
        steps += 1
    assert 1 < steps < 20
    torch.testing.assert_close(before - model.weight, torch.full((1, 4), 4.0, device=GPU))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_stopped_run_continues_with_the_same_scale_of_its_loss(precision: str, tmp_path: Path) -> None:
    def losses(folder: Path, stop_after: int | None) -> list[float]:
        run = Run(folder, folder, device=GPU, precision=precision)
        model = run.wrap(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1)))
        optimizer = torch.optim.Adam(model.parameters())
        x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)).to(GPU)
        for epoch in run.epochs(4, {"model": model, "optimizer": optimizer}):
            for _ in range(10):
                loss = F.mse_loss(model(x), x[:, :1])
                optimizer.zero_grad()
                run.backward(loss)
                run.step(optimizer)
            run.log({"train/loss": loss.item()})
            if epoch + 1 == stop_after:
                (folder / STOP).touch()
        return [event["metrics"]["train/loss"] for event in events.read(folder)]

    whole = losses(tmp_path / "whole", None)
    with pytest.raises(Interrupted):
        losses(tmp_path / "stopped", 2)
    (tmp_path / "stopped" / STOP).unlink()
    assert losses(tmp_path / "stopped", None) == whole


def test_pictures_are_augmented_on_the_gpu() -> None:
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert augment(images.to(GPU), 32, 1.0).is_cuda
