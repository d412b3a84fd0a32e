"""Networks that translate: the course's recurrent one with attention, and the Transformer with a key-value cache.

Shapes: sources are (B, S) and targets (B, T) token ids, followed by `PAD`; logits are (B, T, V) over a vocabulary of V
tokens. Both networks decode step by step in the same way: `encode` gives the state of the source, and `step` takes the
newest target tokens together with a cache of the tokens before them.
"""

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from labs.transformer.token_batches import PAD

State = dict[str, torch.Tensor]
"""Name -> tensor with one row for each sentence."""


class Embedding(nn.Embedding):
    """Token embeddings of variance 1 / d_model, 0 for `PAD`; the weights also serve as those of an output layer."""

    def __init__(self, vocabulary_size: int, d_model: int) -> None:
        super().__init__(vocabulary_size, d_model, PAD)
        nn.init.normal_(self.weight, std=d_model**-0.5)
        nn.init.zeros_(self.weight[PAD])


class Recurrent(nn.Module):
    """The sample's network: a bidirectional GRU encoder, and a GRU decoder with attention to the encoder's outputs. The
    queries are the embeddings of the decoder's inputs.

    Args:
        d_model: channels of an embedding.
        hidden_size: units of the encoder in each direction; the decoder has twice as many.
        layers: GRU layers of the encoder, and of the decoder.
        dropout: of embeddings, encoder outputs and decoder outputs.
    """

    def __init__(self, vocabulary_size: int, d_model: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.source_embedding = Embedding(vocabulary_size, d_model)
        self.target_embedding = Embedding(vocabulary_size, d_model)
        self.encoder = nn.GRU(d_model, hidden_size, layers, batch_first=True, dropout=between, bidirectional=True)
        self.query = nn.Linear(d_model, 2 * hidden_size, bias=False)
        self.combine = nn.Linear(d_model + 2 * hidden_size, d_model, bias=False)
        self.decoder = nn.GRU(d_model, 2 * hidden_size, layers, batch_first=True, dropout=between)
        self.output = nn.Linear(2 * hidden_size, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, sources: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.step(targets, self.encode(sources), {})[0]

    def encode(self, sources: torch.Tensor) -> State:
        """Sources -> `outputs` of the encoder (B, S, 2 hidden), `mask` of tokens that are not `PAD` (B, S), and the
        decoder's initial `hidden` state (B, layers, 2 hidden)."""
        lengths = (sources != PAD).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self.source_embedding(sources)), lengths, batch_first=True, enforce_sorted=False
        )
        packed_outputs, final = self.encoder(packed)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(packed_outputs, batch_first=True, total_length=sources.shape[1])
        hidden = final.unflatten(0, (-1, 2)).permute(2, 0, 1, 3).flatten(2)  # both directions of a layer concatenated
        return {"outputs": self.dropout(outputs), "mask": sources != PAD, "hidden": hidden}

    def step(self, targets: torch.Tensor, encoded: State, cache: State) -> tuple[torch.Tensor, State]:
        """The next target tokens (B, T), one or more -> their logits, and the new cache; the first cache is empty."""
        x = self.dropout(self.target_embedding(targets))
        # context = softmax(query . outputs^T) outputs   (dot-product attention)
        scores = self.query(x) @ encoded["outputs"].transpose(1, 2)
        context = scores.masked_fill(~encoded["mask"][:, None], -torch.inf).softmax(2) @ encoded["outputs"]
        previous = cache.get("hidden", encoded["hidden"]).transpose(0, 1).contiguous()
        x, hidden = self.decoder(self.combine(torch.cat([context, x], 2)).tanh(), previous)
        logits = F.linear(self.output(self.dropout(x)), self.target_embedding.weight)
        return logits, {"hidden": hidden.transpose(0, 1)}


class Transformer(nn.Module):
    """Encoder and decoder of Vaswani et al. (arXiv:1706.03762), with layer normalisation before each sublayer
    (pre-norm, Xiong et al., arXiv:2002.04745).

    The encoder is torch's. The decoder is written out, because torch's has no key-value cache.

    Args:
        d_model: channels of an embedding and of every layer.
        heads: attention heads of a layer.
        d_ff: channels between the two linear layers of a feed-forward network.
        layers: layers of the encoder, and of the decoder.
        dropout: of embeddings, sublayers and attention weights.
    """

    def __init__(self, vocabulary_size: int, d_model: int, heads: int, d_ff: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.source_embedding = Embedding(vocabulary_size, d_model)
        self.target_embedding = Embedding(vocabulary_size, d_model)
        layer = nn.TransformerEncoderLayer(d_model, heads, d_ff, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(d_model), enable_nested_tensor=False)
        self.decoder = nn.ModuleList(DecoderLayer(d_model, heads, d_ff, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        # The layers of torch's encoder are copies of one layer with equal weights, so each is initialised again.
        for weight in self.encoder.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(self, sources: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.step(targets, self.encode(sources), {})[0]

    def encode(self, sources: torch.Tensor) -> State:
        """Sources -> the `mask` of tokens that are not `PAD` (B, S), and by the number of each decoder layer the keys
        and values of its cross-attention."""
        mask = sources != PAD
        outputs = self.encoder(self._embed(self.source_embedding, sources, 0), src_key_padding_mask=~mask)
        encoded = {"mask": mask}
        for number, layer in enumerate(self.decoder):
            encoded[str(number)] = cast(DecoderLayer, layer).cross_attention.keys_values(outputs)
        return encoded

    def step(self, targets: torch.Tensor, encoded: State, cache: State) -> tuple[torch.Tensor, State]:
        """The next target tokens (B, T), one or more -> their logits, and the cache of each layer's keys and values
        with theirs; the first cache is empty."""
        x = self._embed(self.target_embedding, targets, cache["0"].shape[2] if cache else 0)
        new_cache: State = {}
        for number, layer in enumerate(self.decoder):
            name = str(number)
            x, new_cache[name] = layer(x, cache.get(name), encoded[name], encoded["mask"])
        return F.linear(self.norm(x), self.target_embedding.weight), new_cache

    def _embed(self, embedding: Embedding, token_ids: torch.Tensor, first: int) -> torch.Tensor:
        """x = sqrt(d_model) * embedding + position encoding, for positions from `first` on."""
        d_model = embedding.embedding_dim
        encodings = position_encodings(first + token_ids.shape[1], d_model, token_ids.device)[first:]
        x: torch.Tensor = self.dropout(embedding(token_ids) * d_model**0.5 + encodings)
        return x


Network = Recurrent | Transformer


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the source, and a feed-forward network."""

    def __init__(self, d_model: int, heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(d_model, heads, dropout)
        self.cross_attention = Attention(d_model, heads, dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: torch.Tensor, cache: torch.Tensor | None, encoded: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of the newest target tokens -> the layer's outputs, and the cache with their keys and values.

        Args:
            x: (B, T, d_model).
            cache: keys and values of the tokens before, (B, 2, positions, d_model); None if there are none.
            encoded: keys and values of the source, (B, 2, S, d_model).
            mask: (B, S), True for tokens of the source that are not `PAD`.
        """
        y = self.norms[0](x)
        keys_values = self.self_attention.keys_values(y)
        if cache is not None:
            keys_values = torch.cat([cache, keys_values], 2)
        new, total = x.shape[1], keys_values.shape[2]
        positions = torch.arange(total, device=x.device)
        causal = positions <= positions[total - new :, None]
        x = x + self.dropout(self.self_attention(y, keys_values, causal))
        x = x + self.dropout(self.cross_attention(self.norms[1](x), encoded, mask[:, None, None]))
        x = x + self.dropout(self.feed_forward(self.norms[2](x)))
        return x, keys_values


class Attention(nn.Module):
    """Multi-head attention to keys and values that are computed beforehand, so that they can be cached."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key_value = nn.Linear(d_model, d_model), nn.Linear(d_model, 2 * d_model)
        self.output = nn.Linear(d_model, d_model)
        for linear in (self.query, self.key_value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def keys_values(self, x: torch.Tensor) -> torch.Tensor:
        """(B, positions, d_model) -> keys and values (B, 2, positions, d_model)."""
        keys_values: torch.Tensor = self.key_value(x).unflatten(2, (2, -1)).transpose(1, 2)
        return keys_values

    def forward(self, x: torch.Tensor, keys_values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Queries from x (B, T, d_model) -> (B, T, d_model).

        Args:
            keys_values: (B, 2, positions, d_model).
            mask: True where a query may attend, broadcasts to (B, heads, T, positions).
        """
        q = self.query(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = keys_values.unflatten(3, (self.heads, -1)).transpose(2, 3).unbind(1)
        # Attention(Q, K, V) = softmax(Q K^T / sqrt(d_head)) V, for each head   (arXiv:1706.03762, equation 1)
        heads = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0)
        output: torch.Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return output


def position_encodings(count: int, d_model: int, device: torch.device | None = None) -> torch.Tensor:
    """Sinusoidal position encodings of the positions 0 to `count - 1`, (count, d_model), all sines before all cosines.

    PE(p, i) = sin(p / 10000^(2i / d_model)), PE(p, d_model / 2 + i) = cos(p / 10000^(2i / d_model))
    """
    rates = torch.exp(torch.arange(0, d_model, 2, device=device) * (-math.log(10000.0) / d_model))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
