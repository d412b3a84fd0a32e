"""The networks of the regression lab: one or several small MLPs, each on the columns that were chosen for it."""

from typing import Literal

import torch
from torch import nn


class Regressor(nn.Module):
    """MLPs side by side, each on its own columns; with one member it is the sample's network.

    Which columns, and how they are scaled, are buffers: they come from each member's training rows.

    Args:
        columns: columns of a row, id and states included.
        chosen: how many of them a member sees.
        members: number of networks.
        residual: add the last known `tested_positive` to the output.
    """

    chosen: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor
    last_known: torch.Tensor

    def __init__(
        self,
        columns: int,
        chosen: int,
        members: int,
        *,
        residual: bool,
        hidden: tuple[int, ...],
        activation: Literal["relu", "silu"],
        dropout: float,
    ) -> None:
        super().__init__()
        self.register_buffer("chosen", torch.zeros(members, chosen, dtype=torch.long))
        self.register_buffer("shift", torch.zeros(members, chosen))
        self.register_buffer("scale", torch.ones(members, chosen))
        self.register_buffer("last_known", torch.tensor(columns - 1))
        self.residual = residual
        self.members = nn.ModuleList([mlp(chosen, hidden, activation, dropout) for _ in range(members)])

    def prepare(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows (B, columns) to what the members see, (B, members, chosen), and what their output is added to, (B,)."""
        start = rows[:, self.last_known] if self.residual else rows.new_zeros(len(rows))
        return (rows[:, self.chosen] - self.shift) / self.scale, start

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Prepared inputs (B, members, chosen) to each member's output (B, members)."""
        return torch.cat([member(inputs[:, number]) for number, member in enumerate(self.members)], 1)

    def predict(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (B, columns) to the members' mean in percent, (B,)."""
        inputs, start = self.prepare(rows)
        output: torch.Tensor = start + self(inputs).mean(1)
        return output


def mlp(inputs: int, hidden: tuple[int, ...], activation: Literal["relu", "silu"], dropout: float) -> nn.Sequential:
    """(B, inputs) -> (B, 1)."""
    function = {"relu": nn.ReLU, "silu": nn.SiLU}[activation]
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), function()]
        layers += [nn.Dropout(dropout)] if dropout else []
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
