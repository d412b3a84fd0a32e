"""Pooling: frames (B, T, d) and mask (B, T), True at real frames -> one embedding for each utterance, (B, d)."""

import torch
from torch import nn


class MeanPooling(nn.Module):
    """The mean over the real frames."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


class AttentivePooling(nn.Module):
    """Self-attentive pooling (Safari et al., arXiv:2008.01077): a weighted mean, which can ignore uninformative frames.

    A small network scores each frame; the weights are the softmax of the scores.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        # The last layer has no bias, as the softmax does not depend on a constant added to all scores.
        self.score = nn.Sequential(nn.Linear(d_model, d_model), nn.Tanh(), nn.Linear(d_model, 1, bias=False))

    def weights(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T); each row sums to 1 over the real frames and is 0 at padded ones."""
        # a_t = softmax_t(w^T tanh(W x_t + b))
        scores: torch.Tensor = self.score(x)[:, :, 0]
        return scores.masked_fill(~mask, -torch.inf).softmax(1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        # e = sum_t a_t x_t
        return (self.weights(x, mask)[:, None] @ x)[:, 0]
