"""What a network takes: parameters, megabytes, milliseconds."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

REPEATS = 10


def parameters(model: nn.Module) -> int:
    """All that a network keeps, frozen ones included, a layer that is used twice once."""
    return sum(p.numel() for p in model.parameters())


def table(model: nn.Module) -> list[tuple[str, str, int]]:
    """Name, kind and parameters of each layer that has any of its own."""
    layers = [(name, type(layer).__name__, sum(p.numel() for p in layer.parameters(recurse=False)))
              for name, layer in model.named_modules()]  # fmt: skip
    return [layer for layer in layers if layer[2]]


def megabytes(model: nn.Module) -> float:
    """Size of the file with all that the network keeps, parameters and statistics, in 1e6 bytes."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell() / 1e6


def milliseconds(model: nn.Module, inputs: torch.Tensor) -> float:
    """Milliseconds of CPU time that a sample takes in a forward over a batch, on one thread: the least of a few, since
    whatever else the machine does can only add to it. Of several threads those that wait for a core count as busy."""
    seconds = []
    with one_thread(), torch.no_grad():
        for _ in range(REPEATS):
            start = time.process_time()
            model(inputs)
            seconds.append(time.process_time() - start)
    return 1e3 * min(seconds) / len(inputs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes on one thread: the same sums, and the same time, however many cores there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
