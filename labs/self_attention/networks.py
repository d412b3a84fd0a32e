"""The network of the self-attention lab: prenet, encoder, pooling, head."""

from functools import partial

import torch
from torch import nn

from labs.self_attention.am_softmax import CosineLogits
from labs.self_attention.attention import EncoderLayer, SelfAttention
from labs.self_attention.config import SelfAttentionConfig
from labs.self_attention.conformer import ConformerBlock, Subsampling
from labs.self_attention.crops import spread_crops
from labs.self_attention.pooling import AttentivePooling, MeanPooling


class SpeakerNet(nn.Module):
    """Frames (B, T, mels) and lengths (B,), T if None -> logits (B, speakers)."""

    def __init__(self, config: SelfAttentionConfig, mels: int, classes: int) -> None:
        super().__init__()
        self.config, width = config, config.d_model
        self.prenet = Subsampling(mels, width) if config.subsampling else nn.Linear(mels, width)
        self.encoder = nn.ModuleList(encoder_layer(config) for _ in range(config.layers))
        self.pooling = AttentivePooling(width) if config.pooling == "attentive" else MeanPooling()
        if config.loss == "am-softmax":  # no ReLU, which would leave only embeddings without negative features
            cosines = CosineLogits(width, classes, config.scale)
            self.head = nn.Sequential(nn.Linear(width, width), nn.Identity(), cosines)
        else:
            logits = nn.Linear(width, classes)
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), logits)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        if lengths is None:
            lengths = torch.full(frames.shape[:1], frames.shape[1], device=frames.device)
        mask = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        if isinstance(self.prenet, Subsampling):
            x, mask = self.prenet(frames, mask)
        else:
            x = self.prenet(frames)
        for layer in self.encoder:
            x = layer(x, mask)
        logits: torch.Tensor = self.head(self.pooling(x, mask))
        return logits

    def test_logits(self, frames: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """As `forward`; with `test_crops` the mean logits of crops, which are as long as those of the training."""
        if not self.config.test_crops:
            whole: torch.Tensor = self(frames, lengths)
            return whole
        if lengths is None:
            lengths = torch.full(frames.shape[:1], frames.shape[1], device=frames.device)
        crops = spread_crops(frames, lengths, self.config.crop, self.config.test_crops)
        return torch.stack([self(*crop) for crop in crops]).mean(0)


def encoder_layer(config: SelfAttentionConfig) -> nn.Module:
    """A Transformer layer or a Conformer block: (B, T, d_model) and mask (B, T) -> (B, T, d_model)."""
    attention = partial(SelfAttention, config.d_model, config.heads, config.attention, config.window, config.dropout)
    if config.encoder == "conformer":
        return ConformerBlock(attention, config.d_model, config.ff, config.conv_kernel, config.dropout)
    return EncoderLayer(attention, config.d_model, config.ff, config.dropout, config.norm_first)
