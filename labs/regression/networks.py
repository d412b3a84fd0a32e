"""The network of the regression lab: an MLP, or an ensemble of MLPs that each see their own selected columns."""

from typing import Literal

import torch
from torch import nn
from torch.utils.data import TensorDataset


class Regressor(nn.Module):
    """An ensemble of MLPs; with one member it is the sample's network.

    The indices of the selected columns (`chosen`), their means (`shift`) and standard deviations (`scale`) are buffers,
    (members, chosen), because they are computed on each member's training rows.

    Args:
        columns: number of columns of a row, id and states included.
        chosen: number of selected columns, the same for every member.
        members: number of MLPs.
        residual: add the last known `tested_positive` to the output.
        hidden: widths of the hidden layers.
        dropout: fraction of the hidden units that each training step sets to zero.
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
        """Select and standardise columns: rows (B, columns) -> inputs (B, members, chosen) and offset (B,).

        A prediction is the network's output plus the offset: the last known `tested_positive`, or 0.
        """
        offset = rows[:, self.last_known] if self.residual else rows.new_zeros(len(rows))
        return (rows[:, self.chosen] - self.shift) / self.scale, offset

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Inputs from `prepare` (B, members, chosen) -> each member's output (B, members)."""
        return torch.cat([member(inputs[:, number]) for number, member in enumerate(self.members)], 1)

    def predict(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (B, columns) -> the mean of the members' predictions (B,), in percent."""
        inputs, offset = self.prepare(rows)
        prediction: torch.Tensor = offset + self(inputs).mean(1)
        return prediction


def masked_rows(network: Regressor, inputs: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> TensorDataset:
    """The rows that at least one member uses, prepared for the network.

    Args:
        inputs: (rows, columns).
        targets: (rows,).
        mask: (rows, members) bool, True where a member uses a row.

    Returns:
        For n rows: prepared inputs (n, members, chosen), targets less the offset (n, 1), mask (n, members) float.
    """
    used = mask.any(1)
    prepared, offset = network.prepare(inputs[used])
    return TensorDataset(prepared, (targets[used] - offset)[:, None], mask[used].float())


def mlp(inputs: int, hidden: tuple[int, ...], activation: Literal["relu", "silu"], dropout: float) -> nn.Sequential:
    """Linear layers with an activation and dropout between them: (B, inputs) -> (B, 1)."""
    function = {"relu": nn.ReLU, "silu": nn.SiLU}[activation]
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), function()]
        layers += [nn.Dropout(dropout)] if dropout else []
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
