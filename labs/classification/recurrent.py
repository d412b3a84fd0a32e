"""Recurrent layers that read sequences of different lengths in both directions."""

from typing import cast

import torch
from torch import nn


def reverse(sequences: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Each sequence of (B, T, n) backwards within its own length (B,); what stands after its end stays there."""
    place = torch.arange(sequences.shape[1], device=sequences.device)
    backwards = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
    return sequences.gather(1, backwards[..., None].expand_as(sequences))


class Recurrent(nn.Module):
    """Layers of LSTM or GRU; (B, T, inputs) and lengths (B,) -> (B, T, hidden), twice as wide in both directions.

    The backward direction is a layer of its own on reversed sequences: so it starts at a sequence's own last step,
    padding has no effect on what stands before it, and torch's fast kernels are used. On CPUs the gradient of torch's
    packed sequences takes time quadratic in their length.
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
            forwards, *backwards = cast(nn.ModuleList, directions)
            inputs = self.dropout(sequences) if number else sequences
            outputs = [forwards(inputs)[0]]
            outputs += [reverse(layer(reverse(inputs, lengths))[0], lengths) for layer in backwards]
            sequences = torch.cat(outputs, 2)
        return sequences
