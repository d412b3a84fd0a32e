"""`Run`: epochs that continue exactly, checkpoints that survive, batches that split exactly."""

import json
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

import labs
from labs.core import events
from labs.core.errors import BadInput
from labs.core.heading import Metric
from labs.core.loader import BatchDataset, ShardedBatches
from labs.core.run import STOP, Interrupted, Run
from labs.core.weights import unwrap
from labs.regression import data as survey
from tests.labs.workers import in_two_processes

METRIC = Metric("loss", "min")


def train(run: Run, epochs: int = 6, stop_after: int | None = None) -> nn.Module:
    """A small noisy training with everything that must come back: dropout, momentum, progress, best."""
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(37, 4, generator=generator), torch.randn(37, 1, generator=generator))
    model = run.wrap(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    progress: dict[str, list[float]] = {"losses": []}
    for epoch in run.epochs(epochs, {"model": model, "optimizer": optimizer, "progress": progress}):
        for x, y in run.loader(data, 8, train=True):
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        progress["losses"].append(loss.item())
        run.log({"val/loss": sum(progress["losses"])})
        run.best(METRIC, model)
        if epoch + 1 == stop_after:
            (run.folder / STOP).touch()
    return model


def undisturbed(folder: Path, epochs: int = 6) -> tuple[dict[str, torch.Tensor], list[float]]:
    model = train(Run(folder, folder), epochs)
    return model.state_dict(), [event["metrics"]["val/loss"] for event in events.read(folder)]


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_stopped_run_started_again_ends_like_an_undisturbed_one(tmp_path: Path, stop_after: int) -> None:
    weights, losses = undisturbed(tmp_path / "whole")
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        train(Run(folder, folder), stop_after=stop_after)
    (folder / STOP).unlink()
    model = train(Run(folder, folder))
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert [event["metrics"]["val/loss"] for event in events.read(folder)] == losses
    assert [event["step"] for event in events.read(folder)] == [1, 2, 3, 4, 5, 6]


def test_a_corrupt_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labs.core.run.SAVE_EVERY_S", 0.0)
    weights, _ = undisturbed(tmp_path / "whole")
    folder = tmp_path / "broken"
    train(Run(folder, folder), epochs=4)
    newest = max((folder / "checkpoints").glob("step-*"))
    (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:100])
    model = train(Run(folder, folder))
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert [event["step"] for event in events.read(folder)] == [1, 2, 3, 4, 5, 6]


def test_a_pickle_in_place_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (Path.write_text, (tmp_path / "owned", "owned"))  # type: ignore[return-value]

    train(Run(tmp_path, tmp_path), epochs=2)
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    (newest / "state.pt").write_bytes(pickle.dumps(Malicious()))
    train(Run(tmp_path, tmp_path), epochs=3)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_network_is_named(tmp_path: Path) -> None:
    """The sentence says which checkpoint and what to remove; nothing is removed by itself."""
    train(Run(tmp_path, tmp_path), epochs=2)
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    torch.save({"model": {"other": torch.eye(2)}, "optimizer": {}}, newest / "state.pt")
    with pytest.raises(BadInput, match="step-000002 does not fit what is trained here"):
        train(Run(tmp_path, tmp_path), epochs=3)
    assert newest.exists()


def test_a_checkpoint_that_can_not_be_decoded_is_set_aside_and_not_deleted(tmp_path: Path) -> None:
    train(Run(tmp_path, tmp_path), epochs=2)
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    (newest / "state.pt").write_bytes(b"half")
    train(Run(tmp_path, tmp_path), epochs=3)
    assert (newest.with_name(f"broken-{newest.name}") / "state.pt").read_bytes() == b"half"


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_a_failure_of_the_storage_leaves_every_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    weights, _ = undisturbed(tmp_path / "whole")
    folder = tmp_path / "flaky"
    train(Run(folder, folder), epochs=2)
    before = sorted(path.name for path in (folder / "checkpoints").iterdir())

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("torch.load", fail)
        with pytest.raises(type(error)):
            train(Run(folder, folder))
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == before
    model = train(Run(folder, folder))
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def continue_on_two(rank: int, folder: Path) -> None:
    train(Run(folder, folder), epochs=6)


def test_workers_continue_from_the_one_checkpoint_that_rank_0_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks that chose for themselves could restore different steps and then wait for each other for ever."""
    monkeypatch.setattr("labs.core.run.SAVE_EVERY_S", 0.0)
    train(Run(tmp_path, tmp_path), epochs=4)
    (tmp_path / "checkpoints/step-000004/state.pt").write_bytes(b"half")
    in_two_processes(continue_on_two, tmp_path)
    assert [event["step"] for event in events.read(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "checkpoints/broken-step-000004").is_dir()


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, _ = undisturbed(tmp_path / "whole")
    folder = tmp_path / "full"
    train(Run(folder, folder), epochs=2)

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("labs.core.checkpoint.save_file", no_space)
        with pytest.raises(OSError, match="No space left"):
            train(Run(folder, folder))
    model = train(Run(folder, folder))
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())


def test_best_keeps_the_best_epoch_and_ignores_nan(tmp_path: Path) -> None:
    run = Run(tmp_path, tmp_path)
    model = nn.Linear(1, 1, bias=False)
    for value in run.epochs(4, {"model": model}):
        nn.init.constant_(model.weight, value)
        run.log({"val/loss": [3.0, 1.0, float("nan"), 2.0][value]})
        run.best(METRIC, model)
    run.write_weights()
    from safetensors.torch import load_file

    assert load_file(tmp_path / "weights.safetensors")["weight"].item() == 1.0
    assert run.epochs_since_best == 2


def test_a_metrics_event_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    events.append(tmp_path, {"step": 1, "metrics": {}})
    with (tmp_path / events.FILE).open("a") as file:
        file.write('{"step": 2, "met')
    assert [event["step"] for event in events.read(tmp_path)] == [1]
    events.append(tmp_path, {"step": 2, "metrics": {}})  # on a line of its own
    events.rewind(tmp_path, 2)
    assert [event["step"] for event in events.read(tmp_path)] == [1, 2]


@pytest.mark.parametrize("length", [1, 7, 8, 23])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_validation_takes_each_sample_once_over_all_workers(length: int, world_size: int) -> None:
    # 7 is no multiple of 2 or 3: when validating, the size of a batch only bounds memory.
    shards = [ShardedBatches(length, 7, rank=r, world_size=world_size, train=False) for r in range(world_size)]
    seen = [int(i) for shard in shards for batch in shard for i in batch]
    assert sorted(seen) == list(range(length))
    assert [len(list(shard)) for shard in shards] == [len(shard) for shard in shards]


def test_training_batches_of_all_workers_make_the_global_batches() -> None:
    whole = list(ShardedBatches(23, 6, rank=0, world_size=1, train=True))
    halves = [list(ShardedBatches(23, 6, rank=r, world_size=2, train=True)) for r in range(2)]
    joined = [torch.cat(pair) for pair in zip(*halves, strict=True)]
    assert [batch.tolist() for batch in joined[:-1]] == [batch.tolist() for batch in whole[:-1]]
    assert len(whole[-1]) == 5
    assert len(joined[-1]) == 4  # of a last batch of 5, two workers take 2 each


def test_a_batch_that_cannot_be_split_is_refused_with_both_numbers() -> None:
    with pytest.raises(BadInput, match="batch size 7 can't be split evenly between 2 workers"):
        ShardedBatches(20, 7, rank=0, world_size=2, train=True)


def distributed_steps(rank: int, world_size: int, folder: str) -> None:
    """Three global batches of 8 on `world_size` workers; writes each rank's weights and collectives' results."""
    run = Run(Path(folder), Path(folder))
    generator = torch.Generator().manual_seed(1)
    data = TensorDataset(torch.randn(24, 4, generator=generator), torch.randn(24, 1, generator=generator))
    model = run.wrap(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in run.epochs(1, {"model": model, "optimizer": optimizer}):
        for x, y in run.loader(data, 8, train=True):
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        run.log({"val/loss": 0.0})
    module = unwrap(model)
    module.zero_grad()
    F.mse_loss(module(data.tensors[0][rank::world_size]), data.tensors[1][rank::world_size]).backward()
    run.sync_gradients(module)
    gradients = [p.grad.tolist() for p in module.parameters() if p.grad is not None]
    exact = run.mean(float(sum(range(rank, 5, world_size))), len(range(rank, 5, world_size)))
    averaged = run.average(torch.tensor(4 * rank + 2 if world_size > 1 else 4)).item()
    out = {"mean": exact, "averaged": averaged, "gather": run.gather([rank]), "gradients": gradients}
    Path(folder, f"rank{rank}.json").write_text(json.dumps(out))
    torch.save(module.state_dict(), Path(folder, f"rank{rank}.pt"))


def test_two_workers_step_like_one_on_the_same_global_batch(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    distributed_steps(0, 1, str(tmp_path / "one"))
    in_two_processes(distributed_steps, 2, str(tmp_path / "two"))
    one = torch.load(tmp_path / "one/rank0.pt", weights_only=True)
    ranks = [torch.load(tmp_path / f"two/rank{r}.pt", weights_only=True) for r in range(2)]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in one)
    assert all(torch.allclose(ranks[0][name], one[name], atol=1e-5) for name in one)
    said = [json.loads((tmp_path / f"two/rank{r}.json").read_text()) for r in range(2)]
    alone = json.loads((tmp_path / "one/rank0.json").read_text())
    assert said[0]["mean"] == said[1]["mean"] == alone["mean"] == 2.0
    assert said[0]["averaged"] == said[1]["averaged"] == alone["averaged"] == 4  # of 2 and 6
    assert said[0]["gather"] == said[1]["gather"] == [0, 1]
    for a, b, c in zip(said[0]["gradients"], said[1]["gradients"], alone["gradients"], strict=True):
        assert a == b
        assert torch.allclose(torch.tensor(a), torch.tensor(c), atol=1e-6)


def deliver_slowly(rank: int, folder: str) -> None:
    """Regression at tiny, whose delivery takes longer than workers may wait for each other."""
    lab = labs.get("regression")
    slow = replace(lab, deliver=lambda *args: (time.sleep(4), lab.deliver(*args)))
    run = Run(Path(folder, "run"), Path(folder, "packed"), device=torch.device("cpu"))
    slow.fit(lab.resolve("simple", "tiny", {"epochs": 1}), run)


def test_workers_do_not_wait_for_a_long_delivery(tmp_path: Path) -> None:
    """The process group's limit on waiting is half an hour with Ray; delivering on the course's data may take more."""
    (tmp_path / "source").mkdir()
    survey.make(tmp_path / "source", 0, "tiny")
    (tmp_path / "packed").mkdir()
    survey.prepare(tmp_path / "source", tmp_path / "packed", "generated")
    in_two_processes(deliver_slowly, str(tmp_path), wait_s=3)
    assert (tmp_path / "run" / "result.json").exists()


class Squares(Dataset[tuple[torch.Tensor, int]]):
    """A data set as torch's documentation writes one: sample i is a tensor and a number."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((3,), float(index)), index**2


@pytest.mark.parametrize("dataset", [Squares(), Subset(Squares(), list(range(10))), ConcatDataset([Squares()])])
def test_a_loader_takes_any_map_style_data_set(tmp_path: Path, dataset: Dataset[Any]) -> None:
    seen = [tuple(part.tolist()) for _, part in Run(tmp_path, tmp_path).loader(dataset, 4)]
    assert seen == [(0, 1, 4, 9), (16, 25, 36, 49), (64, 81)]


def test_a_loader_says_which_samples_it_can_not_put_together(tmp_path: Path) -> None:
    class Named(Squares):
        def __getitem__(self, index: int) -> Any:
            return {"x": torch.zeros(2)}

    with pytest.raises(TypeError, match=r"Named\[0\] must be a tensor, a number or a tuple"):
        next(iter(Run(tmp_path, tmp_path).loader(Named(), 2)))


class Recorded(BatchDataset):
    """Ten samples; says when a sample has been read, and fails at one of them if asked to."""

    def __init__(self, fails_at: int = -1) -> None:
        self.was_read, self.fails_at = [threading.Event() for _ in range(10)], fails_at

    def __len__(self) -> int:
        return 10

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for index in indices.tolist():
            if index == self.fails_at:
                raise OSError(f"sample {index}")
            self.was_read[index].set()
        return (indices,)


def on_a_device(folder: Path, dataset: Dataset[Any]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches of 2 on a device that is not the CPU; tensors of `meta` have shapes and no values."""
    return iter(Run(folder, folder, device=torch.device("meta")).loader(dataset, 2))


def test_on_a_device_the_next_batch_is_read_while_the_step_runs(tmp_path: Path) -> None:
    dataset = Recorded()
    for step, (batch,) in enumerate(on_a_device(tmp_path, dataset)):
        assert (batch.device.type, len(batch)) == ("meta", 2)
        assert all(event.wait(5) for event in dataset.was_read[: 2 * step + 4]), "the next batch was not read"
        time.sleep(0.01)
        assert not any(event.is_set() for event in dataset.was_read[2 * step + 4 :]), "more than one ahead"
    assert step == 4


@pytest.mark.parametrize("ending", [None, RuntimeError, KeyboardInterrupt, OSError])
def test_no_thread_outlives_a_loop_over_batches(tmp_path: Path, ending: type[BaseException] | None) -> None:
    """Left early, by an error in the loop, by Ctrl-C, or by a data set that can't be read."""
    before, steps = threading.enumerate(), 0
    with pytest.raises(ending) if ending else nullcontext():
        for _ in on_a_device(tmp_path, Recorded(fails_at=5 if ending is OSError else -1)):
            steps += 1
            if steps == 2 and ending is None:
                break
            if steps == 2 and ending is not OSError:
                raise ending
    assert steps == 2
    assert threading.enumerate() == before


def test_a_data_set_that_draws_at_random_draws_in_the_same_order_on_every_device(tmp_path: Path) -> None:
    class Noisy(Squares):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            drawn.append(torch.rand(()).item())
            return super().__getitem__(index)

    orders = []
    for device in ("cpu", "meta"):
        drawn: list[float] = []
        run = Run(tmp_path, tmp_path, device=torch.device(device))  # seeds the generators
        for _ in run.loader(Noisy(), 4):
            drawn.append(torch.rand(()).item())  # the step's own, such as dropout's
        orders.append(drawn)
    assert orders[0] == orders[1]
