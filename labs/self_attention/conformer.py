"""The Conformer block (Gulati et al., arXiv:2005.08100): attention for global, convolution for local context."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from labs.self_attention.attention import SelfAttention


class ConformerBlock(nn.Module):
    """Feed-forward, self-attention, convolution, feed-forward: each a residual sublayer, the feed-forward ones halved.

    (B, T, d_model) and mask (B, T), True at real frames -> (B, T, d_model). Unlike the paper's, the attention has no
    relative positional encoding; positions enter through the convolutions.
    """

    def __init__(
        self, attention: Callable[[], SelfAttention], d_model: int, ff: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.first, self.last = feed_forward(d_model, ff, dropout), feed_forward(d_model, ff, dropout)
        self.norm_attention, self.norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = attention()
        self.drop = nn.Dropout(dropout)
        self.convolution = Convolution(d_model, kernel, dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # x <- x + FFN(x) / 2;  x <- x + MHSA(x);  x <- x + Conv(x);  y = LayerNorm(x + FFN(x) / 2)
        x = x + self.first(x) / 2
        x = x + self.drop(self.attention(self.norm_attention(x), mask))
        x = x + self.convolution(x, mask)
        y: torch.Tensor = self.norm(x + self.last(x) / 2)
        return y


class Convolution(nn.Module):
    """A gated linear unit and a depthwise convolution: (B, T, d_model) and mask (B, T) -> (B, T, d_model).

    Args:
        kernel: kernel size in frames, odd.
    """

    def __init__(self, d_model: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d_model), FrameNorm(d_model)
        self.gated = nn.Linear(d_model, 2 * d_model)
        self.filter = nn.Conv1d(d_model, d_model, kernel, padding=kernel // 2, groups=d_model)
        self.outputs = nn.Linear(d_model, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # Padded frames must be zero, like the convolution's own padding, or they would change the last real frames.
        x = F.glu(self.gated(self.norm1(x))) * mask[:, :, None]
        x = self.filter(x.transpose(1, 2)).transpose(1, 2)
        out: torch.Tensor = self.drop(self.outputs(F.silu(self.norm2(x, mask))))
        return out


class FrameNorm(nn.Module):
    """Batch normalisation of (B, T, d_model) over the real frames only, so that padding has no effect.

    With several workers, each has the batch statistics of its own frames.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x.masked_scatter(mask[:, :, None], self.norm(x[mask]))


class Subsampling(nn.Module):
    """Two convolutions of stride 2 before the first block. All later layers then cost a quarter, full attention a
    sixteenth. Batch normalisation after each of them is not in the paper.

    Frames (B, T, mels) and mask (B, T) -> (B, ceil(T / 4), d_model) and mask (B, ceil(T / 4)).
    """

    def __init__(self, mels: int, d_model: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList([nn.Conv1d(inputs, d_model, 5, 2, 2, bias=False) for inputs in (mels, d_model)])
        self.norms = nn.ModuleList([FrameNorm(d_model) for _ in self.filters])

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for convolution, norm in zip(self.filters, self.norms, strict=True):
            # As in `Convolution`, padded frames must be zero.
            x = convolution((x * mask[:, :, None]).transpose(1, 2)).transpose(1, 2)
            mask = mask[:, ::2]
            x = F.silu(norm(x, mask))
        return x, mask


def feed_forward(d_model: int, ff: int, dropout: float) -> nn.Sequential:
    """Layer normalisation, then two linear layers with a Swish (SiLU) activation between them."""
    return nn.Sequential(
        nn.LayerNorm(d_model),
        nn.Linear(d_model, ff),
        nn.SiLU(),
        nn.Dropout(dropout),
        nn.Linear(ff, d_model),
        nn.Dropout(dropout),
    )
