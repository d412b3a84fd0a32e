"""The cost of a network: its parameters, the size of its file and the time of a forward pass on a CPU."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

REPEATS = 10
"""Forward passes of which the fastest counts."""


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included; a layer that is used twice counts once."""
    return sum(p.numel() for p in model.parameters())


def parameters_by_layer(model: nn.Module) -> list[tuple[str, str, int]]:
    """Name, type and number of parameters of each layer that has parameters of its own."""
    layers = [(name, type(layer).__name__, sum(p.numel() for p in layer.parameters(recurse=False)))
              for name, layer in model.named_modules()]  # fmt: skip
    return [layer for layer in layers if layer[2]]


def file_megabytes(model: nn.Module) -> float:
    """Size of the file of the state dict, parameters and buffers, in 1e6 bytes."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.tell() / 1e6


def latency_ms(model: nn.Module, inputs: torch.Tensor) -> float:
    """CPU time of a forward pass in milliseconds per sample of the batch `inputs`, on one thread.

    The fastest of `REPEATS` passes counts, because other programs on the machine only ever add time. With several
    threads, the CPU time would include that of threads which wait for a core.
    """
    seconds = []
    with one_thread(), torch.no_grad():
        for _ in range(REPEATS):
            start = time.process_time()
            model(inputs)
            seconds.append(time.process_time() - start)
    return 1e3 * min(seconds) / len(inputs)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: results and times then do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
