"""Four kinds of self-attention over padded sequences, and the Transformer's encoder layer.

Shapes: x is (B, T, d_model); queries q, keys k and values v are (B, heads, T, d); mask is (B, T) bool, True at real
frames. Outputs at padded frames are undefined but finite.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

Kind = Literal["full", "local", "strided", "linear"]


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., arXiv:1706.03762).

    Args:
        kind: the function of this module that computes the attention.
        window: frames on either side with `local`, distance between frames with `strided`.
        dropout: fraction of the attention weights that is set to zero in training; `linear`, which never computes
            them, has no dropout.
    """

    def __init__(self, d_model: int, heads: int, kind: Kind, window: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.kind, self.window, self.dropout = heads, kind, window, dropout
        self.inputs = nn.Linear(d_model, 3 * d_model)
        self.outputs = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = self.inputs(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        if self.kind == "full":
            out = full(q, k, v, mask, dropout)
        elif self.kind == "local":
            out = local(q, k, v, mask, self.window, dropout)
        elif self.kind == "strided":
            out = strided(q, k, v, mask, self.window, dropout)
        else:
            out = linear(q, k, v, mask)
        projected: torch.Tensor = self.outputs(out.transpose(1, 2).flatten(2))
        return projected


def full(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """Each frame attends to all real frames: T * T dot products."""
    # out = softmax(q k^T / sqrt(d)) v
    return F.scaled_dot_product_attention(q, k, v, mask[:, None, None], dropout)


def local(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, window: int, dropout: float = 0.0
) -> torch.Tensor:
    """Each frame attends to the real frames at most `window` away (Beltagy et al., arXiv:2004.05150).

    The sequence is cut into blocks of `window` frames. The queries of a block are multiplied with the keys of that
    block and of the two blocks beside it: T * 3 window dot products.
    """
    length = q.shape[2]
    q, k, v, mask = _whole_blocks(q, k, v, mask, window)
    k, v = (F.pad(x, (0, 0, window, window)).unfold(2, 3 * window, window).transpose(3, 4) for x in (k, v))
    real = F.pad(mask, (window, window)).unfold(1, 3 * window, window)[:, None, :, None]
    key = torch.arange(3 * window, device=q.device)
    distance = key - window - key[:window, None]
    # A frame always attends to itself, as the softmax of a padded query without any key would be NaN.
    allowed = (real & (distance.abs() <= window)) | (distance == 0)
    out = F.scaled_dot_product_attention(q.unflatten(2, (-1, window)), k, v, allowed, dropout)
    return out.flatten(2, 3)[:, :, :length]


def strided(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, stride: int, dropout: float = 0.0
) -> torch.Tensor:
    """Each frame attends to the real frames at a multiple of `stride` away (Child et al., arXiv:1904.10509, without the
    local attention heads).

    The sequence is split into `stride` independent sequences of every stride-th frame: T * T / stride dot products.
    """
    length = q.shape[2]
    q, k, v, mask = _whole_blocks(q, k, v, mask, stride)
    q, k, v = (x.unflatten(2, (-1, stride)).transpose(2, 3) for x in (q, k, v))
    itself = torch.eye(q.shape[3], dtype=torch.bool, device=q.device)
    allowed = mask.unflatten(1, (-1, stride)).transpose(1, 2)[:, None, :, None] | itself
    out = F.scaled_dot_product_attention(q, k, v, allowed, dropout)
    return out.transpose(2, 3).flatten(2, 3)[:, :, :length]


def linear(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Weights phi(q) . phi(k) with phi(x) = elu(x) + 1 in place of the softmax (Katharopoulos et al.,
    arXiv:2006.16236).

    The sums over the keys are computed first: T * d * d products, and the T * T weights are never computed.
    """
    # out_t = phi(q_t)^T (sum_s phi(k_s) v_s^T) / (phi(q_t)^T sum_s phi(k_s))
    q, k = F.elu(q) + 1, (F.elu(k) + 1) * mask[:, None, :, None]
    normaliser = q @ k.sum(2).unsqueeze(3)
    out: torch.Tensor = (q @ (k.transpose(2, 3) @ v)) / normaliser
    return out


def _whole_blocks(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, size: int
) -> tuple[torch.Tensor, ...]:
    """q, k, v and mask padded to a multiple of `size` frames."""
    extra = -q.shape[2] % size
    return *(F.pad(x, (0, 0, 0, extra)) for x in (q, k, v)), F.pad(mask, (0, extra))


class EncoderLayer(nn.Module):
    """`nn.TransformerEncoderLayer` with any `SelfAttention`: (B, T, d_model) and mask (B, T) -> (B, T, d_model).

    Args:
        attention: makes the self-attention sublayer.
        ff: width of the hidden layer of the feed-forward sublayer.
        norm_first: layer normalisation before each sublayer (pre-LN), with which deep stacks train more stably
            (Xiong et al., arXiv:2002.04745), instead of after it (post-LN), as in the original.
    """

    def __init__(
        self, attention: Callable[[], SelfAttention], d_model: int, ff: int, dropout: float, norm_first: bool
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = attention()
        self.ff = nn.Sequential(
            nn.Linear(d_model, ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ff, d_model), nn.Dropout(dropout)
        )
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.norm_first:
            x = x + self.drop(self.attention(self.norm1(x), mask))
            x = x + self.ff(self.norm2(x))
        else:
            x = self.norm1(x + self.drop(self.attention(x, mask)))
            x = self.norm2(x + self.ff(x))
        return x
