"""The settings of the self-attention lab."""

from typing import Literal, Self

from pydantic import Field, model_validator

from labs.core.config import Config
from labs.self_attention.attention import Kind


class SelfAttentionConfig(Config):
    encoder: Literal["transformer", "conformer"] = "transformer"
    """Transformer layers (attention, feed-forward), or Conformer blocks, which contain a convolution as well."""
    layers: int = Field(1, ge=1)
    """Number of layers or blocks of the encoder."""
    d_model: int = Field(80, ge=1)
    """Width of the encoder: features of a frame; a multiple of `heads`."""
    heads: int = Field(2, ge=1)
    """Number of attention heads."""
    ff: int = Field(256, ge=1)
    """Width of the hidden layer of a feed-forward network."""
    norm_first: bool = False
    """Layer normalisation before each sublayer instead of after it; no effect with `encoder=conformer`."""
    conv_kernel: int = Field(15, ge=1)
    """Kernel size of the convolution, in frames, odd; no effect with `encoder=transformer`."""
    subsampling: bool = False
    """Begin with two convolutions of stride 2, which leave every fourth frame, instead of a linear layer."""
    attention: Kind = "full"
    """A frame attends to all frames, to those near it, to every n-th one, or to all without a softmax (linear)."""
    window: int = Field(16, ge=1)
    """Frames on either side with `attention=local`, n with `attention=strided`; no effect otherwise."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Fraction of activations and of attention weights that each training step sets to zero."""
    pooling: Literal["mean", "attentive"] = "mean"
    """From frames to an utterance: mean, or weighted mean with learned weights."""
    loss: Literal["softmax", "am-softmax"] = "softmax"
    """Cross-entropy of a linear layer's logits, or of scaled cosines with an additive margin."""
    margin: float = Field(0.2, ge=0, lt=1)
    """Margin m, by which the true speaker's cosine is reduced in training; no effect with `loss=softmax`."""
    scale: float = Field(20.0, gt=0)
    """Factor s between cosines and logits; no effect with `loss=softmax`."""
    crop: int = Field(128, ge=1)
    """Frames of a training crop, 10 ms each."""
    time_mask: int = Field(0, ge=0)
    """SpecAugment: longest mask, in frames, that hides a part of a training crop; 0 for none."""
    frequency_mask: int = Field(0, ge=0)
    """SpecAugment: widest mask, in mel bands, that hides some bands of a training crop; 0 for none."""
    test_crops: int = Field(0, ge=0, le=100)
    """Crops of `crop` frames of a test utterance, whose mean logits decide; 0 for the whole utterance at once; no
    effect on `val/accuracy`."""
    lr: float = Field(1e-3, gt=0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(1e-2, ge=0)
    """Decoupled weight decay."""
    warmup: float = Field(0.0143, gt=0, lt=1)
    """Fraction of the training in which the learning rate rises; then it decays to 0 on a cosine."""
    batch_size: int = Field(32, ge=1)
    """Crops in a global batch."""
    epochs: int = Field(44, ge=1)
    """Passes over the training utterances, with one crop of each; the sample's 70,000 steps are 44 passes."""
    validation: float = Field(0.1, gt=0, lt=1)
    """Fraction of the training utterances that is held out for validation."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} must be a multiple of heads {self.heads}")
        if self.conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel {self.conv_kernel} must be odd, so that it has a middle frame")
        return self
