"""How a network is wrapped: number format, compilation, micro-batches; on a CPU, which has bf16 too."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import labs
from labs.core import events
from labs.core.run import Run
from labs.core.weights import unwrap
from tests.labs.store import Store
from tests.labs.workers import in_two_processes

CPU = torch.device("cpu")


class Seen(nn.Module):
    """Adds its weight, and notes the number format of a product."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.formats: list[torch.dtype] = []

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        product = x @ x.T
        self.formats.append(product.dtype)
        if x.isnan().any():
            raise ValueError("not a number")
        return {"sum": product.sum() + self.weight, "count": torch.tensor(len(x))}


class Pair(nn.Module):
    """Two networks without a forward of their own, such as a GAN's."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critics = Seen(), nn.ModuleList([Seen()])


@pytest.mark.parametrize(("precision", "inside"), [("auto", torch.float32), ("bf16", torch.bfloat16)])
def test_a_forward_pass_has_the_format_of_the_run_and_its_outputs_are_fp32(
    precision: Any, inside: torch.dtype, tmp_path: Path
) -> None:
    model = Run(tmp_path, tmp_path, device=CPU, precision=precision).wrap(Seen())
    outputs = model(torch.ones(2, 2))
    assert model.formats == [inside]
    assert (outputs["sum"].dtype, outputs["count"].dtype) == (torch.float32, torch.int64)


def test_the_networks_of_a_module_without_forward_have_it_too(tmp_path: Path) -> None:
    pair = Run(tmp_path, tmp_path, device=CPU, precision="bf16").wrap(Pair())
    for network in (pair.generator, pair.critics[0]):
        network(torch.ones(2, 2))
        assert network.formats == [torch.bfloat16]


def test_a_copy_of_a_wrapped_network_computes_with_its_own_weights(tmp_path: Path) -> None:
    """A replaced `forward` is copied together with the network that it belongs to."""
    model = Run(tmp_path, tmp_path, device=CPU, precision="bf16").wrap(Seen())
    copy = deepcopy(model)
    with torch.no_grad():
        copy.weight += 100
    assert copy(torch.ones(1, 1))["sum"].tolist() == [102]


def test_a_forward_pass_that_fails_leaves_the_format_as_it_was(tmp_path: Path) -> None:
    model = Run(tmp_path, tmp_path, device=CPU, precision="bf16").wrap(Seen())
    with pytest.raises(ValueError, match="not a number"):
        model(torch.full((1, 1), torch.nan))
    assert not torch.is_autocast_enabled("cpu")


def test_gradients_are_clipped_over_all_parameters_of_the_optimizer(tmp_path: Path) -> None:
    run = Run(tmp_path, tmp_path, device=CPU)
    weights = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:]}], lr=1.0)
    run.backward(3 * weights[0] + 4 * weights[1])
    assert float(run.clip_gradients(optimizer, 1.0)) == pytest.approx(5)
    run.step(optimizer)
    assert torch.cat(weights).tolist() == pytest.approx([-0.6, -0.8])


def add_up(rank: int, folder: Path) -> list[float]:
    """The gradient of three micro-batches, those of this worker or all; (1,) each."""
    run = Run(folder / str(rank), folder, device=CPU)
    linear = nn.Linear(1, 1, bias=False)
    model = run.wrap(linear)
    rows = torch.arange(1.0, 7.0).view(-1, 1)[run.rank :: run.world_size]
    for part in run.micro_batches(model, rows.chunk(3)):
        run.backward(model(part).sum())
    return [float(parameter.grad) for parameter in unwrap(model).parameters() if parameter.grad is not None]


def test_micro_batches_of_two_workers_add_up_to_the_mean_of_their_gradients(tmp_path: Path) -> None:
    assert add_up(0, tmp_path / "alone") == [21]
    assert in_two_processes(add_up, tmp_path) == [[10.5], [10.5]]


def test_a_larger_batch_warms_up_to_its_larger_learning_rate(tmp_path: Path) -> None:
    """Each epoch's step is the weight's change, with a gradient of 1; the optimizer's own rate stays."""
    run = Run(tmp_path, tmp_path, device=CPU, warm_up_from=0.25)
    weight = nn.Parameter(torch.zeros(1))
    optimizer, changes = torch.optim.SGD([weight], lr=8.0), []
    for _ in run.epochs(12, {"optimizer": optimizer}):
        before = weight.item()
        optimizer.zero_grad()
        run.backward(weight.sum())
        run.step(optimizer)
        changes.append(before - weight.item())
        assert optimizer.param_groups[0]["lr"] == 8
    assert changes == [2.0, 4.0, 6.0] + [8.0] * 9


def test_a_step_whose_gradients_overflow_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    """In fp16, in which the loss is scaled."""
    run = Run(tmp_path, tmp_path, device=CPU, precision="fp16")
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    done = []
    for factor in (torch.inf, 0.5):
        optimizer.zero_grad()
        run.backward(factor * weight.sum())
        run.unscale(optimizer)
        done.append(run.step(optimizer))
    assert done == [False, True]
    assert weight.tolist() == [0.5]


def test_a_method_against_forgetting_learns_nothing_from_a_step_that_is_left_out(store: Store, tmp_path: Path) -> None:
    """Its importances became infinite or NaN with the gradients that had overflowed, and stayed so."""
    observed = []

    class Overflowing(Run):
        def backward(self, loss: torch.Tensor, inputs: Any = None) -> None:
            super().backward(loss * (torch.inf if not observed else 1.0), inputs)
            observed.append(loss)

    run = Overflowing(tmp_path / "run", store.data_dir("lifelong"), device=CPU, precision="fp16")
    lab = labs.get("lifelong")
    lab.train(lab.resolve("rwalk", "tiny", {"epochs_per_task": 1}), run)
    metrics = [value for event in events.read(run.folder) for value in event["metrics"].values()]
    assert len(observed) > 2
    assert all(map(math.isfinite, metrics))
