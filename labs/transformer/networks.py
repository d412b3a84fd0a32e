"""Networks that translate: the course's recurrent one with attention, and the Transformer with cached keys.

Shapes: sources are (B, S) and targets (B, T) piece numbers, `PAD` behind; logits are (B, T, pieces). Both networks
decode step by step alike: `encode` gives what is known of the source, and `step` takes the newest pieces and what is
known of those before them.
"""

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from labs.transformer.token_batches import PAD

State = dict[str, torch.Tensor]
"""Name -> tensor with a row for each sentence."""


class Embedding(nn.Embedding):
    """Pieces as vectors of variance 1 / d_model, `PAD` as zeros: they serve as weights of an output layer too."""

    def __init__(self, pieces: int, d_model: int) -> None:
        super().__init__(pieces, d_model, PAD)
        nn.init.normal_(self.weight, std=d_model**-0.5)
        nn.init.zeros_(self.weight[PAD])


class Recurrent(nn.Module):
    """The sample's network: a bidirectional GRU reads, another GRU writes, and attends from each piece it has written.

    Args:
        d_model: size of a piece's vector.
        hidden: units of the encoder in each direction; the decoder has twice as many.
    """

    def __init__(self, pieces: int, d_model: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.source, self.target = Embedding(pieces, d_model), Embedding(pieces, d_model)
        self.encoder = nn.GRU(d_model, hidden, layers, batch_first=True, dropout=between, bidirectional=True)
        self.query = nn.Linear(d_model, 2 * hidden, bias=False)
        self.mix = nn.Linear(d_model + 2 * hidden, d_model, bias=False)
        self.decoder = nn.GRU(d_model, 2 * hidden, layers, batch_first=True, dropout=between)
        self.outputs = nn.Linear(2 * hidden, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.step(target, self.encode(source), {})[0]

    def encode(self, source: torch.Tensor) -> State:
        """Sources -> the `memory` of all pieces, its `mask`, the decoder's first `hidden`, (B, layers, 2 hidden)."""
        lengths = (source != PAD).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.source(source)), lengths, batch_first=True, enforce_sorted=False
        )
        read, last = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(read, batch_first=True, total_length=source.shape[1])
        both = last.unflatten(0, (-1, 2)).permute(2, 0, 1, 3).flatten(2)  # the two directions of a layer side by side
        return {"memory": self.drop(memory), "mask": source != PAD, "hidden": both}

    def step(self, target: torch.Tensor, source: State, past: State) -> tuple[torch.Tensor, State]:
        """The next pieces (B, T), one or more -> their logits, and the past with them; the first past is empty."""
        x = self.drop(self.target(target))
        scores = self.query(x) @ source["memory"].transpose(1, 2)
        seen = scores.masked_fill(~source["mask"][:, None], -torch.inf).softmax(2) @ source["memory"]
        before = past.get("hidden", source["hidden"]).transpose(0, 1).contiguous()
        x, hidden = self.decoder(self.mix(torch.cat([seen, x], 2)).tanh(), before)
        logits = F.linear(self.outputs(self.drop(x)), self.target.weight)
        return logits, {"hidden": hidden.transpose(0, 1)}


class Transformer(nn.Module):
    """Encoder and decoder of Vaswani et al. (arXiv:1706.03762), each part normalised before it.

    The encoder is torch's; the decoder is written out, as torch's can't keep the keys of pieces that it has written.
    """

    def __init__(self, pieces: int, d_model: int, heads: int, ff: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.source, self.target = Embedding(pieces, d_model), Embedding(pieces, d_model)
        layer = nn.TransformerEncoderLayer(d_model, heads, ff, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.decoder = nn.ModuleList(DecoderLayer(d_model, heads, ff, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.drop = nn.Dropout(dropout)
        # The layers of torch's encoder are copies of one: they must not start alike.
        for weight in self.encoder.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.step(target, self.encode(source), {})[0]

    def encode(self, source: torch.Tensor) -> State:
        """Sources -> the `mask` of real pieces and, for each layer, the keys and values of the encoder's output."""
        mask = source != PAD
        memory = self.encoder(self._embed(self.source, source, 0), src_key_padding_mask=~mask)
        read = {
            str(number): cast(DecoderLayer, layer).reading.keys_values(memory)
            for number, layer in enumerate(self.decoder)
        }
        return {"mask": mask, **read}

    def step(self, target: torch.Tensor, source: State, past: State) -> tuple[torch.Tensor, State]:
        """The next pieces (B, T), one or more -> their logits, and the past with their keys and values of each layer;
        the first past is empty."""
        x = self._embed(self.target, target, past["0"].shape[2] if past else 0)
        written: State = {}
        for number, layer in enumerate(self.decoder):
            key = str(number)
            x, written[key] = layer(x, past.get(key), source[key], source["mask"])
        return F.linear(self.norm(x), self.target.weight), written

    def _embed(self, embedding: Embedding, numbers: torch.Tensor, first: int) -> torch.Tensor:
        d_model = embedding.embedding_dim
        where = positions(first + numbers.shape[1], d_model, numbers.device)[first:]
        x: torch.Tensor = self.drop(embedding(numbers) * d_model**0.5 + where)
        return x


Network = Recurrent | Transformer


class DecoderLayer(nn.Module):
    """Attention to what was written, attention to the source, and a feed-forward part."""

    def __init__(self, d_model: int, heads: int, ff: int, dropout: float) -> None:
        super().__init__()
        self.writing, self.reading = Attention(d_model, heads, dropout), Attention(d_model, heads, dropout)
        self.ff = nn.Sequential(nn.Linear(d_model, ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(ff, d_model))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: torch.Tensor, past: torch.Tensor | None, read: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x (B, T, d_model) behind the pieces of `past`, keys and values -> the same shape, and all keys and values."""
        y = self.norms[0](x)
        written = self.writing.keys_values(y)
        if past is not None:
            written = torch.cat([past, written], 2)
        new, total = x.shape[1], written.shape[2]
        order = torch.arange(total, device=x.device)
        x = x + self.drop(self.writing(y, written, order <= order[total - new :, None]))
        x = x + self.drop(self.reading(self.norms[1](x), read, mask[:, None, None]))
        x = x + self.drop(self.ff(self.norms[2](x)))
        return x, written


class Attention(nn.Module):
    """Multi-head attention to keys and values that were computed before and are kept, (B, 2, positions, d_model)."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key_value = nn.Linear(d_model, d_model), nn.Linear(d_model, 2 * d_model)
        self.outputs = nn.Linear(d_model, d_model)
        for linear in (self.query, self.key_value, self.outputs):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def keys_values(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, d_model) -> (B, 2, T, d_model)."""
        both: torch.Tensor = self.key_value(x).unflatten(2, (2, -1)).transpose(1, 2)
        return both

    def forward(self, x: torch.Tensor, keys_values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x (B, T, d_model); mask, True where a query may look, broadcasts to (B, heads, T, positions)."""
        q = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = keys_values.unflatten(3, (self.heads, -1)).transpose(2, 3).unbind(1)
        out = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        mixed: torch.Tensor = self.outputs(out.transpose(1, 2).flatten(2))
        return mixed


def positions(count: int, d_model: int, device: torch.device | None = None) -> torch.Tensor:
    """Sines and cosines of places 0 to `count - 1`, (count, d_model), wavelengths geometric from 2 pi to 20000 pi."""
    rates = torch.exp(torch.arange(0, d_model, 2, device=device) * (-math.log(10000.0) / d_model))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
