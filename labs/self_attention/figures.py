"""Time and memory of each kind of attention by the length of the utterance: a report question of homework 4."""

import time
from typing import get_args

import torch
from matplotlib.figure import Figure
from torch.nn.attention import SDPBackend, sdpa_kernel

from labs.core.plots import legend_beside, styled
from labs.self_attention.attention import Kind, SelfAttention

LENGTHS = (256, 512, 1024, 2048)
"""Lengths of the utterances, in frames of 10 ms."""
HEADER = ("attention", "kernel", "frames", "milliseconds", "megabytes")
REPEATS = 3
"""Timings of each case, of which the fastest is reported."""
Cost = tuple[str, str, int, float, float]
"""A row of the table, as `HEADER`."""


def measure_all(d_model: int, heads: int, window: int, device: torch.device) -> list[Cost]:
    """The cost of every kind of attention at every length."""
    variants = [(kind, False) for kind in get_args(Kind)] + [("full", True)]
    return [
        measure(kind, d_model, heads, window, length, device, fused) for kind, fused in variants for length in LENGTHS
    ]


def measure(
    kind: Kind, d_model: int, heads: int, window: int, length: int, device: torch.device, fused: bool = False
) -> Cost:
    """Cost of the forward and backward pass of one layer of self-attention on one utterance.

    Args:
        fused: use torch's fused kernel, which never stores all attention weights, instead of the plain formula.

    Returns:
        Kind, kernel, frames, milliseconds, and megabytes (1e6 bytes) that the forward pass saves for the backward pass.
    """
    layer = SelfAttention(d_model, heads, kind, window, dropout=0.0).to(device)
    # One frame is padding, so that the mask is used as in a batch.
    mask = torch.arange(length, device=device)[None] < length - 1
    x = torch.randn(1, length, d_model, device=device)
    seconds = []
    backends = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION] if fused else [SDPBackend.MATH]
    with sdpa_kernel(backends):
        for _ in range(REPEATS):
            start = _clock(device)
            layer(x, mask).sum().backward()
            seconds.append(_clock(device) - start)
        saved = _saved_bytes(layer, x, mask)
    return kind, "fused" if fused else "plain", length, 1e3 * min(seconds), saved / 1e6


def _saved_bytes(layer: SelfAttention, x: torch.Tensor, mask: torch.Tensor) -> int:
    """Bytes that a forward pass saves for the backward pass, each storage counted once."""
    saved: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        layer(x, mask)
    return sum(saved.values())


@styled
def plot(costs: list[Cost]) -> Figure:
    """Time and memory by length, on logarithmic axes, where a power law is a straight line."""
    figure = Figure(figsize=(12, 4.5))
    figure.suptitle("One layer of self-attention, forward and backward")
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(panels, (3, 4), ("time, ms", "memory for the backward pass, MB"), strict=True):
        for kind, kernel in dict.fromkeys(cost[:2] for cost in costs):
            rows = [cost for cost in costs if cost[:2] == (kind, kernel)]
            axes.plot(
                [cost[2] for cost in rows],
                [cost[column] for cost in rows],
                "o-" if kernel == "plain" else "s--",
                label=kind if kernel == "plain" else f"{kind}, {kernel} kernel",
            )
        axes.set(xlabel="length of the utterance, frames of 10 ms", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
        axes.minorticks_off()
    legend_beside(panels[-1], "attention")
    return figure


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
