"""Unidirectional and bidirectional LSTM and GRU layers over padded batches of sequences."""

from typing import cast

import torch
from torch import nn


def reverse(sequences: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each sequence of (B, T, n) reversed within its own length (B,); the padding after its end stays in place."""
    time = torch.arange(sequences.shape[1], device=sequences.device)
    reversed_time = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return sequences.gather(1, reversed_time[..., None].expand_as(sequences))


class Recurrent(nn.Module):
    """A stack of LSTM or GRU layers with dropout between them.

    (B, T, inputs) and lengths (B,) -> (B, T, hidden), or (B, T, 2 * hidden) if bidirectional.

    The backward direction is a layer of its own on reversed sequences. It therefore starts at a sequence's own last
    step, and padding has no effect on the outputs before it. The common alternative, torch's packed sequences, has a
    backward pass on CPUs whose time is quadratic in the length.
    """

    def __init__(self, cell: str, inputs: int, hidden: int, layers: int, dropout: float, bidirectional: bool) -> None:
        super().__init__()
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        directions = 1 + bidirectional
        widths = [inputs, *[hidden * directions] * (layers - 1)]
        self.layers = nn.ModuleList(
            nn.ModuleList(kind(width, hidden, batch_first=True) for _ in range(directions)) for width in widths
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, sequences: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        for number, directions in enumerate(self.layers):
            forward, *backward = cast(nn.ModuleList, directions)
            inputs = self.dropout(sequences) if number else sequences
            outputs = [forward(inputs)[0]]
            outputs += [reverse(layer(reverse(inputs, lengths))[0], lengths) for layer in backward]
            sequences = torch.cat(outputs, 2)
        return sequences
