"""What each variant of attention costs as utterances get longer: the self-attention lab's report question."""

import csv
import time
from pathlib import Path
from typing import get_args

import torch
from matplotlib.figure import Figure
from torch.nn.attention import SDPBackend, sdpa_kernel

from labs.self_attention.attention import Kind, SelfAttention

LENGTHS = (256, 512, 1024, 2048)
"""Frames, 10 ms each."""
HEADER = ("attention", "kernel", "frames", "milliseconds", "megabytes")
REPEATS = 3
Cost = tuple[str, str, int, float, float]


def write_costs(out: Path, d_model: int, heads: int, window: int, device: torch.device) -> None:
    """Measure, and write `attention_cost.csv` (as `HEADER`) and `attention_cost.png` to the folder `out`."""
    variants = [(kind, False) for kind in get_args(Kind)] + [("full", True)]
    costs = [
        measure(kind, d_model, heads, window, length, device, fused) for kind, fused in variants for length in LENGTHS
    ]
    with (out / "attention_cost.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *((*cost[:3], f"{cost[3]:.2f}", f"{cost[4]:.2f}") for cost in costs)])
    plot(costs).savefig(out / "attention_cost.png", dpi=100, bbox_inches="tight")


def measure(
    kind: Kind, d_model: int, heads: int, window: int, length: int, device: torch.device, fused: bool = False
) -> Cost:
    """A row of the table: forward and backward of one layer of attention over one utterance.

    Args:
        fused: with torch's kernel that never holds all weights at once, instead of the plain formula.

    Returns:
        Variant, kernel, frames, the fastest of a few times in milliseconds, and megabytes (1e6) that the forward keeps
        for the backward.
    """
    layer = SelfAttention(d_model, heads, kind, window, dropout=0.0).to(device)
    # The utterance has padding behind it, as in a batch.
    mask = torch.arange(length, device=device)[None] < length - 1
    x = torch.randn(1, length, d_model, device=device)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    seconds = []
    backends = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION] if fused else [SDPBackend.MATH]
    with sdpa_kernel(backends):
        for _ in range(REPEATS):
            start = _clock(device)
            layer(x, mask).sum().backward()
            seconds.append(_clock(device) - start)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            layer(x, mask)
    return kind, "fused" if fused else "plain", length, 1e3 * min(seconds), sum(kept.values()) / 1e6


def plot(costs: list[Cost]) -> Figure:
    """Time and memory against length, on axes where a power law is a straight line."""
    figure = Figure(figsize=(11, 4.5))
    for axes, column, label in zip(figure.subplots(1, 2), (3, 4), HEADER[3:], strict=True):
        for kind, kernel in dict.fromkeys(cost[:2] for cost in costs):
            rows = [cost for cost in costs if cost[:2] == (kind, kernel)]
            name = kind if kernel == "plain" else f"{kind}, {kernel} kernel"
            axes.plot([cost[2] for cost in rows], [cost[column] for cost in rows], "o-", label=name)
        axes.set(xlabel="frames", ylabel=f"{label} of a layer, forward and backward", xscale="log", yscale="log")
        axes.legend()
    return figure


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
